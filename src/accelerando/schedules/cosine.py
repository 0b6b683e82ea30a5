"""Cosine decay, once and with warm restarts."""

import math
from dataclasses import dataclass
from typing import Any

from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import real, whole
from accelerando.schedules.ops import Ops


@dataclass(frozen=True, repr=False)
class Cosine(Schedule, name="cosine"):
    """Half a cosine from 1 to ``final``, which it then holds: it never climbs again.

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983v5, equation 5, one period.

    Args:
        steps: at least 1.
        final: the factor it ends with, at least 0.
    """

    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))
        object.__setattr__(self, "final", real(self.name, "final", self.final, low=0.0))

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``final + (1 − final)·(1 + cos(π·t/steps))/2``."""
        x = m.minimum(t, float(self.steps)) / self.steps
        return self.final + (1.0 - self.final) * (1.0 + m.cos(math.pi * x)) / 2.0


@dataclass(frozen=True, repr=False)
class CosineRestarts(Schedule, name="cosine_restarts"):
    """Cosine decay that jumps back to its peak and starts again, for ever.

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983v5, equation 5; ``decay`` is an addition.

    Args:
        steps: length of the first period, at least 1.
        mult: each period is this many times longer than the one before, at least 1.
        final: the factor each period ends with, at least 0.
        decay: each peak is this many times the one before, in (0, 1]; the floor stays.
    """

    steps: int
    mult: int = 1
    final: float = 0.0
    decay: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))
        object.__setattr__(self, "mult", whole(self.name, "mult", self.mult))
        object.__setattr__(self, "final", real(self.name, "final", self.final, low=0.0))
        object.__setattr__(self, "decay", real(self.name, "decay", self.decay, low=0.0, high=1.0, above=True))

    def curve(self, t: Any, m: Ops) -> Any:
        """``final + (decay^k − final)·(1 + cos(π·x))/2 at the share x of period k``."""
        k = self._period(t, m)
        begun, length = self._begun(k, m), self.steps * m.power(float(self.mult), k)
        x = (t - begun) / length
        peak = m.power(self.decay, k)
        return self.final + m.maximum(peak - self.final, 0.0) * (1.0 + m.cos(math.pi * x)) / 2.0

    def _period(self, t: Any, m: Ops) -> Any:
        if self.mult == 1:
            return m.floor(t / self.steps)
        k = m.floor(m.log(t / self.steps * (self.mult - 1) + 1.0) / math.log(self.mult))
        # the logarithm is off by one unit in the last place at the restarts themselves
        k = m.where(t < self._begun(k, m), k - 1.0, k)
        return m.where(t >= self._begun(k + 1.0, m), k + 1.0, k)

    def _begun(self, k: Any, m: Ops) -> Any:
        if self.mult == 1:
            return self.steps * k
        return self.steps * (m.power(float(self.mult), k) - 1.0) / (self.mult - 1)

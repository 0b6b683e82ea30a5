"""Warm-up, warm-up–stable–decay, and a cool-down that can start at any time."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from accelerando.errors import HyperparameterError
from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import choice, real, whole
from accelerando.schedules.ops import Ops

Rise = Literal["linear", "exponential"]
Fall = Literal["linear", "1-sqrt", "cosine"]
FALLS = ("linear", "1-sqrt", "cosine")


@dataclass(frozen=True, repr=False)
class Warmup(Schedule, name="warmup"):
    """From a small factor up to 1, which step ``steps`` has first.

    ``linear`` is start + (1 − start)·t/steps, with the default ``start`` (t + 1)/(steps + 1): no step is
    spent at rate 0. ``exponential`` is start^(1 − t/steps): equal ratios. `untuned` needs only Adam's beta2.

    Args:
        steps: at least 1.
        shape: ``linear`` or ``exponential``.
        start: the factor of step 0, in [0, 1] (above 0 for ``exponential``); 1/(steps + 1) by default.
    """

    steps: int
    shape: Rise = "linear"
    start: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))
        choice(self.name, "shape", self.shape, ("linear", "exponential"))
        if self.start is not None:
            positive = self.shape == "exponential"
            object.__setattr__(
                self, "start", real(self.name, "start", self.start, low=0.0, high=1.0, above=positive)
            )

    @staticmethod
    def untuned(beta2: float = 0.999, shape: Rise = "linear") -> "UntunedWarmup":
        """Warm-up with nothing to tune; see `UntunedWarmup`."""
        return UntunedWarmup(beta2, shape)

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``start + (1 − start)·t/steps, or start^(1 − t/steps)``."""
        start = 1.0 / (self.steps + 1) if self.start is None else self.start
        x = m.minimum(t, float(self.steps)) / self.steps
        return m.power(start, 1.0 - x) if self.shape == "exponential" else start * (1.0 - x) + x


@dataclass(frozen=True, repr=False)
class UntunedWarmup(Schedule, name="untuned_warmup"):
    """Warm-up whose pace follows from Adam's memory of squared gradients.

    Source: Ma and Yarats (2021), arXiv:1910.04209v3, section 5. With t counted from 0: ``linear`` is
    min(1, (1 − beta2)/2·(t + 1)); ``exponential`` is 1 − exp(−(1 − beta2)·(t + 1)), which never quite ends:
    multiply by it.

    Args:
        beta2: Adam's second coefficient, in [0, 1).
        shape: ``linear`` or ``exponential``.
    """

    beta2: float = 0.999
    shape: Rise = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta2", real(self.name, "beta2", self.beta2, low=0.0, high=1.0))
        if self.beta2 == 1.0:
            raise HyperparameterError(
                "untuned_warmup: beta2 must be below 1, got 1.0: the warm-up would never end"
            )
        choice(self.name, "shape", self.shape, ("linear", "exponential"))

    @property
    def length(self) -> int | None:
        """2/(1 − beta2) − 1 for ``linear``."""
        if self.shape == "exponential":
            return None
        return max(1, math.ceil(2.0 / (1.0 - self.beta2) - 1e-6) - 1)

    def curve(self, t: Any, m: Ops) -> Any:
        """``min(1, (1 − beta2)/2·(t + 1)) or 1 − exp(−(1 − beta2)·(t + 1))``."""
        pace = 1.0 - self.beta2
        if self.shape == "exponential":
            return 1.0 - m.exp(-pace * (t + 1.0))
        return m.minimum(pace / 2.0 * (t + 1.0), 1.0)


@dataclass(frozen=True, repr=False)
class Cooldown(Schedule, name="cooldown"):
    """1 until ``start``, then down to ``final``: multiply any schedule by it to end a run when you like.

    ``1-sqrt`` is 1 − √x and ``linear`` is 1 − x at the share x of the cool-down (Hägele et al. 2024,
    arXiv:2405.18392v3, section 4).

    Args:
        steps: of the fall, at least 1.
        start: the step at which it begins, at least 0.
        shape: ``linear``, ``1-sqrt`` or ``cosine``.
        final: the factor it ends with, in [0, 1].
    """

    steps: int
    start: int = 0
    shape: Fall = "1-sqrt"
    final: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))
        object.__setattr__(self, "start", whole(self.name, "start", self.start, least=0))
        choice(self.name, "shape", self.shape, FALLS)
        object.__setattr__(self, "final", real(self.name, "final", self.final, low=0.0, high=1.0))

    @property
    def length(self) -> int | None:
        """The step at which it has ended."""
        return self.start + self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``final + (1 − final)·fall((t − start)/steps)``."""
        x = m.minimum(m.maximum(t - self.start, 0.0), float(self.steps)) / self.steps
        return self.final + (1.0 - self.final) * _fall(self.shape, x, m)


@dataclass(frozen=True, repr=False)
class WarmupStableDecay(Schedule, name="wsd"):
    """Warm-up, a long stretch at 1, and a short fall (Hu et al. 2024, arXiv:2404.06395v3, section 4).

    Args:
        warmup: steps of linear warm-up, at least 0.
        stable: steps at 1, at least 0; None stays there for ever, until a cool-down is asked for.
        decay: steps of the fall, at least 1 (no use without ``stable``).
        shape: of the fall: ``1-sqrt``, ``linear`` or ``cosine``.
        final: the factor it ends with, in [0, 1].
    """

    warmup: int
    stable: int | None
    decay: int | None = None
    shape: Fall = "1-sqrt"
    final: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "warmup", whole(self.name, "warmup", self.warmup, least=0))
        if (self.stable is None) != (self.decay is None):
            raise HyperparameterError(
                "wsd: stable and decay belong together: give both numbers of steps, or neither "
                f"to stay at the peak until a cool-down; got stable={self.stable!r}, decay={self.decay!r}"
            )
        if self.stable is not None:
            object.__setattr__(self, "stable", whole(self.name, "stable", self.stable, least=0))
            object.__setattr__(self, "decay", whole(self.name, "decay", self.decay))
        choice(self.name, "shape", self.shape, FALLS)
        object.__setattr__(self, "final", real(self.name, "final", self.final, low=0.0, high=1.0))

    @property
    def length(self) -> int | None:
        """The sum of the three."""
        if self.stable is None or self.decay is None:
            return None
        return self.warmup + self.stable + self.decay

    def curve(self, t: Any, m: Ops) -> Any:
        """``min(1, (t + 1)/(warmup + 1)) times the cool-down``."""
        value = m.minimum((t + 1.0) / (self.warmup + 1.0), 1.0)
        if self.stable is None or self.decay is None:
            return value
        return value * Cooldown(self.decay, self.warmup + self.stable, self.shape, self.final).curve(t, m)


def _fall(shape: str, x: Any, m: Ops) -> Any:
    if shape == "linear":
        return 1.0 - x
    return 1.0 - m.sqrt(x) if shape == "1-sqrt" else (1.0 + m.cos(math.pi * x)) / 2.0

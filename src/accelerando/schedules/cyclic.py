"""Schedules that rise on purpose: cyclic and one-cycle."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from accelerando.errors import HyperparameterError
from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import choice, real, whole
from accelerando.schedules.ops import Ops

Mode = Literal["triangular", "triangular2", "exp_range"]
Axis = Literal["linear", "log"]
Anneal = Literal["cos", "linear"]


@dataclass(frozen=True, repr=False)
class Cyclic(Schedule, name="cyclic"):
    """A triangle wave between ``low`` and 1, for ever.

    Source: Smith (2017), arXiv:1506.01186v6. ``axis="log"`` moves by equal ratios instead of equal
    differences, which suits rates that span decades.

    Args:
        up: steps from ``low`` to the peak, at least 1.
        down: steps back; as many as ``up`` by default.
        low: the factor at the foot, in [0, 1] (above 0 on a log axis).
        mode: ``triangular``; ``triangular2`` halves the height after each cycle; ``exp_range`` multiplies it
            by ``gamma`` at each step.
        gamma: in (0, 1], used by ``exp_range``.
        axis: ``linear`` or ``log``.
    """

    up: int
    down: int | None = None
    low: float = 0.1
    mode: Mode = "triangular"
    gamma: float = 1.0
    axis: Axis = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "up", whole(self.name, "up", self.up))
        if self.down is not None:
            object.__setattr__(self, "down", whole(self.name, "down", self.down))
        choice(self.name, "mode", self.mode, ("triangular", "triangular2", "exp_range"))
        choice(self.name, "axis", self.axis, ("linear", "log"))
        on_log = self.axis == "log"
        object.__setattr__(self, "low", real(self.name, "low", self.low, low=0.0, high=1.0, above=on_log))
        object.__setattr__(self, "gamma", real(self.name, "gamma", self.gamma, low=0.0, high=1.0, above=True))

    @property
    def period(self) -> int:
        """Steps of one whole cycle."""
        return self.up + (self.up if self.down is None else self.down)

    def wave(self, t: Any, m: Ops) -> Any:
        """The triangle itself, between 0 and 1, before its height is damped."""
        inside = t - self.period * m.floor(t / self.period)
        return m.where(inside <= self.up, inside / self.up, (self.period - inside) / (self.period - self.up))

    def curve(self, t: Any, m: Ops) -> Any:
        """``low + (1 − low)·h, or low^(1 − h) on a log axis; h the damped triangle``."""
        height = self.wave(t, m)
        if self.mode == "triangular2":
            height = height * m.power(0.5, m.floor(t / self.period))
        elif self.mode == "exp_range":
            height = height * m.power(self.gamma, t)
        return m.power(self.low, 1.0 - height) if self.axis == "log" else self.low + (1.0 - self.low) * height


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule, name="one_cycle"):
    """Up from ``start`` to 1, then down to ``final``, which it holds.

    Source: Smith and Topin (2018), arXiv:1708.07120v3. The last step, ``steps`` − 1, has ``final``, as in
    torch.

    Args:
        steps: the whole run, at least 1.
        pct_start: the share of the run that rises, in [0, 1] ([0, 0.5] in three phases).
        anneal: ``cos`` or ``linear``.
        start: the factor of the first step, at least 0.
        final: the factor of the last step, at least 0.
        three_phase: after the rise first back to ``start`` in as many steps, then down to ``final``.
    """

    steps: int
    pct_start: float = 0.3
    anneal: Anneal = "cos"
    start: float = 1 / 25
    final: float = 1 / 25e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))
        high = 0.5 if self.three_phase else 1.0
        object.__setattr__(
            self, "pct_start", real(self.name, "pct_start", self.pct_start, low=0.0, high=high)
        )
        choice(self.name, "anneal", self.anneal, ("cos", "linear"))
        object.__setattr__(self, "start", real(self.name, "start", self.start, low=0.0))
        object.__setattr__(self, "final", real(self.name, "final", self.final, low=0.0))
        if not isinstance(self.three_phase, bool):
            raise HyperparameterError(
                f"one_cycle: three_phase must be True or False, got {self.three_phase!r}"
            )

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def corners(self) -> tuple[tuple[float, float], ...]:
        """(step, factor) at the end of each phase; the first phase begins at (0, start)."""
        rise = self.pct_start * self.steps
        if self.three_phase:
            return ((rise - 1, 1.0), (2 * rise - 2, self.start), (self.steps - 1, self.final))
        return ((rise - 1, 1.0), (self.steps - 1, self.final))

    def curve(self, t: Any, m: Ops) -> Any:
        """Annealed from corner to corner."""
        t = m.minimum(t, float(self.steps - 1))
        return anneal_through(t, m, self.start, self.corners(), self.anneal)


def anneal_through(
    t: Any, m: Ops, start: float, corners: tuple[tuple[float, float], ...], how: Anneal
) -> Any:
    """The value at ``t`` on the path that begins at (0, ``start``) and goes through ``corners``."""
    begun, value, path = 0.0, start, None
    for end, target in corners:
        if end > begun:
            x = m.minimum(m.maximum((t - begun) / (end - begun), 0.0), 1.0)
            share = (1.0 - m.cos(math.pi * x)) / 2.0 if how == "cos" else x
            leg = value * (1.0 - share) + target * share
            path = leg if path is None else m.where(t > begun, leg, path)
        begun, value = end, target
    return t * 0.0 + value if path is None else path

"""The plain decays: constant, linear, polynomial, exponential, in steps, inverse square root."""

from dataclasses import dataclass
from typing import Any

from accelerando.errors import HyperparameterError
from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import real, whole
from accelerando.schedules.ops import Ops


@dataclass(frozen=True, repr=False)
class Constant(Schedule, name="constant"):
    """The same factor at every step.

    Args:
        factor: at least 0.
        steps: its length where something is to follow it; None never ends.
    """

    factor: float = 1.0
    steps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", real(self.name, "factor", self.factor, low=0.0))
        if self.steps is not None:
            object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``factor``."""
        return t * 0.0 + self.factor


@dataclass(frozen=True, repr=False)
class Polynomial(Schedule, name="polynomial"):
    """From ``start`` to ``final`` by a power: final + (start − final)·(1 − t/steps)^power, then ``final``.

    Args:
        steps: at least 1.
        power: above 0; 1 is a straight line.
        start, final: factors, at least 0.
    """

    steps: int
    power: float = 1.0
    start: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))
        object.__setattr__(self, "power", real(self.name, "power", self.power, low=0.0, above=True))
        object.__setattr__(self, "start", real(self.name, "start", self.start, low=0.0))
        object.__setattr__(self, "final", real(self.name, "final", self.final, low=0.0))

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``final + (start − final)·(1 − t/steps)^power``."""
        left = 1.0 - m.minimum(t, float(self.steps)) / self.steps
        return self.final + (self.start - self.final) * left**self.power


@dataclass(frozen=True, repr=False)
class Linear(Schedule, name="linear"):
    """A straight line from ``start`` to ``final``, then ``final``; with start below final it rises.

    Args:
        steps: at least 1.
        start, final: factors, at least 0.
    """

    steps: int
    start: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))
        object.__setattr__(self, "start", real(self.name, "start", self.start, low=0.0))
        object.__setattr__(self, "final", real(self.name, "final", self.final, low=0.0))

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``start + (final − start)·t/steps``."""
        x = m.minimum(t, float(self.steps)) / self.steps
        return self.start * (1.0 - x) + self.final * x


@dataclass(frozen=True, repr=False)
class Exponential(Schedule, name="exponential"):
    """gamma^t.

    Args:
        gamma: the factor of one step, above 0; above 1 it rises without end.
        steps: where it stops and holds; None never ends.
    """

    gamma: float
    steps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", real(self.name, "gamma", self.gamma, low=0.0, above=True))
        if self.steps is not None:
            object.__setattr__(self, "steps", whole(self.name, "steps", self.steps))

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``gamma^min(t, steps)``."""
        return m.power(self.gamma, t if self.steps is None else m.minimum(t, float(self.steps)))


@dataclass(frozen=True, repr=False)
class Step(Schedule, name="step"):
    """gamma^⌊t/every⌋: a cut every so many steps.

    Args:
        every: steps between two cuts, at least 1.
        gamma: what each cut multiplies by, above 0.
    """

    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", whole(self.name, "every", self.every))
        object.__setattr__(self, "gamma", real(self.name, "gamma", self.gamma, low=0.0, above=True))

    def curve(self, t: Any, m: Ops) -> Any:
        """``gamma^⌊t/every⌋``."""
        return m.power(self.gamma, m.floor(t / self.every))


@dataclass(frozen=True, repr=False)
class MultiStep(Schedule, name="multi_step"):
    """gamma^(milestones passed): a cut at each milestone; one named twice cuts twice.

    Args:
        milestones: steps, each at least 0, in any order.
        gamma: what each cut multiplies by, above 0.
    """

    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.milestones, (tuple, list)) or not self.milestones:
            raise HyperparameterError(
                f"multi_step: milestones must be a list of steps, got {self.milestones!r}"
            )
        sound = sorted(whole(self.name, "milestones", value, least=0) for value in self.milestones)
        object.__setattr__(self, "milestones", tuple(sound))
        object.__setattr__(self, "gamma", real(self.name, "gamma", self.gamma, low=0.0, above=True))

    @property
    def length(self) -> int | None:
        """The last milestone."""
        return self.milestones[-1]

    def curve(self, t: Any, m: Ops) -> Any:
        """``gamma^#{milestones ≤ t}``."""
        passed = t * 0.0
        for milestone in self.milestones:
            passed = passed + m.where(t >= milestone, 1.0, 0.0)
        return m.power(self.gamma, passed)


@dataclass(frozen=True, repr=False)
class InverseSqrt(Schedule, name="inverse_sqrt"):
    """√(timescale / (timescale + t)): starts at 1 and never ends.

    ``warmup(n) >> inverse_sqrt(n)`` is the Transformer's schedule (Vaswani et al. 2017, section 5.3) with
    its peak at 1.

    Args:
        timescale: steps until the factor has fallen to 1/√2, at least 1.
    """

    timescale: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "timescale", whole(self.name, "timescale", self.timescale))

    def curve(self, t: Any, m: Ops) -> Any:
        """``√(timescale / (timescale + t))``."""
        return m.sqrt(self.timescale / (self.timescale + t))

"""Schedules made of schedules: product, sequence, repeat, clip, take, one for each group."""

from dataclasses import dataclass
from typing import Any

from accelerando.errors import HyperparameterError
from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import real, whole
from accelerando.schedules.ops import Ops
from accelerando.schedules.shapes import Constant


@dataclass(frozen=True, repr=False)
class Product(Schedule, name="product"):
    """The product of its parts: ``a * b``. It ends when the last part has ended."""

    parts: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _schedules("product", self.parts))

    @property
    def length(self) -> int | None:
        """The longest part's length; None where a part never ends, unless that part is constant."""
        lengths = [part.length for part in self.parts if not isinstance(part, Constant)]
        known = [length for length in lengths if length is not None]
        return max(known) if known and len(known) == len(lengths) else None

    def curve(self, t: Any, m: Ops) -> Any:
        """Π part(t)."""
        total = self.parts[0].curve(t, m)
        for part in self.parts[1:]:
            total = total * part.curve(t, m)
        return total

    def __repr__(self) -> str:
        return " * ".join(f"({p!r})" if isinstance(p, Sequence) else repr(p) for p in self.parts)


@dataclass(frozen=True, repr=False)
class Sequence(Schedule, name="sequence"):
    """Its parts one after the other, each from its own step 0: ``a >> b``.

    Raises:
        HyperparameterError: a part other than the last one never ends.
    """

    parts: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _schedules("sequence", self.parts))
        for part in self.parts[:-1]:
            if part.length is None:
                raise HyperparameterError(
                    f"sequence: {part!r} never ends, so nothing can follow it; "
                    "give it an end with .take(steps)"
                )

    @property
    def length(self) -> int | None:
        """The sum of the parts' lengths."""
        last = self.parts[-1].length
        return None if last is None else self.starts[-1] + last

    @property
    def starts(self) -> tuple[int, ...]:
        """The step at which each part begins."""
        starts = [0]
        for part in self.parts[:-1]:
            starts.append(starts[-1] + (part.length or 0))
        return tuple(starts)

    def curve(self, t: Any, m: Ops) -> Any:
        """``part_k(t − start_k), k the last part that has begun``."""
        value = self.parts[0].curve(t, m)
        for start, part in zip(self.starts[1:], self.parts[1:], strict=True):
            value = m.where(t >= start, part.curve(m.maximum(t - start, 0.0), m), value)
        return value

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.parts))


@dataclass(frozen=True, repr=False)
class Repeat(Schedule, name="repeat"):
    """One schedule again and again; after ``times`` times it holds the value the schedule ends with."""

    part: Schedule
    times: int | None = None

    def __post_init__(self) -> None:
        (part,) = _schedules("repeat", (self.part,))
        if not part.length:
            raise HyperparameterError(
                f"repeat: {part!r} never ends, so it cannot be repeated; .take(steps) first"
            )
        if self.times is not None:
            object.__setattr__(self, "times", whole("repeat", "times", self.times))

    @property
    def length(self) -> int | None:
        """``times`` times the part's length."""
        return None if self.times is None else self.times * (self.part.length or 0)

    def curve(self, t: Any, m: Ops) -> Any:
        """``part(t mod length)``."""
        period = float(self.part.length or 1)
        inside = t - period * m.floor(t / period)
        if self.length is not None:
            inside = m.where(t >= self.length, period, inside)
        return self.part.curve(inside, m)

    def __repr__(self) -> str:
        return f"{_braced(self.part)}.repeat({'' if self.times is None else self.times})"


@dataclass(frozen=True, repr=False)
class Clip(Schedule, name="clip"):
    """One schedule, kept in [low, high]."""

    part: Schedule
    low: float = 0.0
    high: float | None = None

    def __post_init__(self) -> None:
        _schedules("clip", (self.part,))
        object.__setattr__(self, "low", real("clip", "low", self.low, low=0.0))
        if self.high is not None:
            object.__setattr__(self, "high", real("clip", "high", self.high, low=self.low))

    @property
    def length(self) -> int | None:
        """The part's length."""
        return self.part.length

    def curve(self, t: Any, m: Ops) -> Any:
        """``min(max(part(t), low), high)``."""
        value = m.maximum(self.part.curve(t, m), self.low)
        return value if self.high is None else m.minimum(value, self.high)

    def __repr__(self) -> str:
        return f"{_braced(self.part)}.clip(low={self.low!r}, high={self.high!r})"


@dataclass(frozen=True, repr=False)
class Take(Schedule, name="take"):
    """The first steps of a schedule; then the value it has reached is held."""

    part: Schedule
    steps: int

    def __post_init__(self) -> None:
        _schedules("take", (self.part,))
        object.__setattr__(self, "steps", whole("take", "steps", self.steps))

    @property
    def length(self) -> int | None:
        """``steps``."""
        return self.steps

    def curve(self, t: Any, m: Ops) -> Any:
        """``part(min(t, steps))``."""
        return self.part.curve(m.minimum(t, float(self.steps)), m)

    def __repr__(self) -> str:
        return f"{_braced(self.part)}.take({self.steps})"


@dataclass(frozen=True)
class PerGroup:
    """One schedule for each parameter group of an optimizer, in the order of its groups.

    A group that is added to the optimizer later follows the last one. Operators work on every member:
    ``per_group(a, b) * warmup(100)``. It is not itself a schedule, because a step has no single factor.
    """

    schedules: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        _schedules("per_group", self.schedules)

    def of(self, group: int) -> Schedule:
        """The schedule of a group, counted from 0."""
        return self.schedules[min(group, len(self.schedules) - 1)]

    def __mul__(self, other: "Schedule | float") -> "PerGroup":
        """Every member times ``other``."""
        return PerGroup(tuple(member * other for member in self.schedules))

    __rmul__ = __mul__

    def __rshift__(self, other: Schedule) -> "PerGroup":
        """Every member, then ``other``."""
        return PerGroup(tuple(member >> other for member in self.schedules))

    def __rrshift__(self, other: Schedule) -> "PerGroup":
        """``other``, then every member."""
        return PerGroup(tuple(other >> member for member in self.schedules))

    def __repr__(self) -> str:
        return f"per_group({', '.join(map(repr, self.schedules))})"


def per_group(*schedules: Schedule) -> PerGroup:
    """One schedule for each parameter group; see `PerGroup`."""
    return PerGroup(schedules)


def product_of(left: Schedule, right: Any) -> Product:
    """``left * right``, flat."""
    if isinstance(right, (int, float)) and not isinstance(right, bool):
        right = Constant(right)
    if not isinstance(right, Schedule):
        return NotImplemented  # type: ignore[no-any-return]
    return Product((*_members(left, Product), *_members(right, Product)))


def sequence_of(left: Schedule, right: Any) -> Sequence:
    """``left >> right``, flat."""
    if not isinstance(right, Schedule):
        return NotImplemented  # type: ignore[no-any-return]
    return Sequence((*_members(left, Sequence), *_members(right, Sequence)))


def _members(schedule: Schedule, kind: type[Product] | type[Sequence]) -> tuple[Schedule, ...]:
    return schedule.parts if isinstance(schedule, kind) else (schedule,)


def _braced(part: Schedule) -> str:
    return f"({part!r})" if isinstance(part, (Product, Sequence)) else repr(part)


def _schedules(owner: str, parts: Any) -> tuple[Schedule, ...]:
    if not parts or not isinstance(parts, (tuple, list)):
        raise HyperparameterError(f"{owner}: needs at least one schedule, got {parts!r}")
    for part in parts:
        if not isinstance(part, Schedule):
            raise HyperparameterError(f"{owner}: every part must be a schedule, got {part!r}")
    return tuple(parts)

"""`Schedule`: a frozen value that maps a step to a factor."""

import dataclasses
import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from accelerando.errors import HyperparameterError
from accelerando.schedules.ops import Ops, steps_and_ops

if TYPE_CHECKING:
    from accelerando.schedules.preview import Preview

VERSION = 1
"""The version of the dictionaries that `Schedule.to_dict` makes."""

registry: dict[str, type["Schedule"]] = {}
"""Public name → class; filled as the classes are made."""


@dataclass(frozen=True)
class Schedule(ABC):
    """What multiplies the learning rate at each step: ``schedule(step)`` is a factor, in closed form.

    A schedule knows nothing of an optimizer and has no state, so it can be evaluated anywhere, compared,
    hashed and saved. Step 0 is the first step of training. Compose with ``a * b`` (product), ``a >> b``
    (first a, then b), `repeat`, `clip` and `take`; `accelerando.schedules.ScheduledLR` puts one on an
    optimizer.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name
        if name:
            registry[name] = cls

    @abstractmethod
    def curve(self, t: Any, m: Ops) -> Any:
        """The formula: the factor at steps ``t`` ≥ 0 (double precision), written on the functions ``m``."""

    @property
    def length(self) -> int | None:
        """Steps until the schedule has ended and holds its last value; None where it never ends."""
        return None

    def __call__(self, step: Any) -> Any:
        """The factor at ``step``.

        Args:
            step: a number, a sequence or NumPy array, or a torch tensor of steps, each at least 0.

        Returns:
            A float for a number; otherwise an array or tensor of the same shape, in double precision.

        Raises:
            HyperparameterError: a step is negative or not a number.
        """
        t, m = steps_and_ops(self.name, step)
        return self.curve(t, m)

    def lr_at(self, step: Any, lr: float = 1.0) -> Any:
        """The learning rate at ``step`` of a group whose base rate is ``lr``."""
        return lr * self(step)

    def as_lambda(self) -> Callable[[int], float]:
        """A picklable ``step -> float`` for hosts that want torch's ``LambdaLR``."""
        return functools.partial(_factor, self)

    def preview(self, steps: int | None = None, lr: float = 1.0) -> "Preview":
        """The whole curve as a table and a figure, every rise marked.

        Args:
            steps: how many steps to show; by default the schedule's length and a tenth more, so that what
                happens after its end is seen too, and 1000 where it never ends.
            lr: the base rate.
        """
        from accelerando.schedules.preview import preview

        return preview([self], steps, [lr])

    def __mul__(self, other: "Schedule | float") -> "Schedule":
        """The product of two schedules, or of a schedule and a number."""
        from accelerando.schedules.combine import product_of

        return product_of(self, other)

    __rmul__ = __mul__

    def __rshift__(self, other: "Schedule") -> "Schedule":
        """First this one until it ends, then ``other`` from its own step 0."""
        from accelerando.schedules.combine import sequence_of

        return sequence_of(self, other)

    def repeat(self, times: int | None = None) -> "Schedule":
        """This one again and again, ``times`` times (for ever by default)."""
        from accelerando.schedules.combine import Repeat

        return Repeat(self, times)

    def clip(self, low: float = 0.0, high: float | None = None) -> "Schedule":
        """This one, kept between two factors."""
        from accelerando.schedules.combine import Clip

        return Clip(self, low, high)

    def take(self, steps: int) -> "Schedule":
        """The first ``steps`` steps of this one, then the value it has reached."""
        from accelerando.schedules.combine import Take

        return Take(self, steps)

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"{self.name}({', '.join(shown)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain, versioned JSON data from which `from_dict` makes an equal schedule."""
        return {"version": VERSION, "schedule": _plain(self)}

    def to_json(self) -> str:
        """`to_dict`, as text."""
        return json.dumps(self.to_dict())


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """The schedule that `Schedule.to_dict` described.

    Raises:
        HyperparameterError: another version, an unknown name or field, or a value out of range.
    """
    if not isinstance(data, Mapping) or data.get("version") != VERSION or "schedule" not in data:
        found = data.get("version") if isinstance(data, Mapping) else data
        raise HyperparameterError(
            f"schedules.from_dict: version must be {VERSION}, got {found!r}; "
            "give what Schedule.to_dict() returned"
        )
    value = _value(data["schedule"])
    if not isinstance(value, Schedule):
        raise HyperparameterError(f"schedules.from_dict: {data['schedule']!r} is not a schedule")
    return value


def from_json(text: str) -> Schedule:
    """The schedule that `Schedule.to_json` described."""
    return from_dict(json.loads(text))


def names() -> list[str]:
    """The name of every schedule, in alphabetical order."""
    return sorted(registry)


def create(name: str, **options: Any) -> Schedule:
    """A schedule by its public name: ``create("cosine", steps=1000, final=0.1)``.

    Raises:
        HyperparameterError: an unknown name or option, or a value out of range.
    """
    if name not in registry:
        raise HyperparameterError(
            f"schedules.create: unknown schedule {name!r}; there are {', '.join(names())}"
        )
    cls = registry[name]
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    for option in options:
        if option not in fields:
            raise HyperparameterError(f"{name}: unknown option {option!r}; it takes {', '.join(fields)}")
    try:
        return cls(**options)
    except TypeError as missing:
        raise HyperparameterError(f"{name}: {missing}; it takes {', '.join(fields)}") from missing


def _factor(schedule: Schedule, step: int) -> float:
    return float(schedule(step))


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"name": value.name, **fields}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _value(data: Any) -> Any:
    if isinstance(data, Mapping):
        options = {key: _value(item) for key, item in data.items() if key != "name"}
        return create(str(data.get("name")), **options)
    return tuple(_value(item) for item in data) if isinstance(data, list) else data

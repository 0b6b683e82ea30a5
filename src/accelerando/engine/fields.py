"""Hyperparameters: the ranges a field may take, how rules see them, and the messages for values outside."""

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from accelerando.errors import HyperparameterError, RuleError


@dataclass(frozen=True)
class Interval:
    """The real numbers between two bounds; ``closed`` names the bounds that belong to it.

    Example:
        >>> 1.0 in Interval(0, 1, closed="left")
        False
    """

    low: float
    high: float
    closed: typing.Literal["both", "left", "right", "neither"] = "both"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, (bool, str)) or value is None:
            return False
        try:
            x = float(value)  # type: ignore[arg-type]  # a number, a NumPy scalar, a tensor of one element
        except (TypeError, ValueError, RuntimeError):
            return False
        above = x >= self.low if self.closed in ("both", "left") else x > self.low
        below = x <= self.high if self.closed in ("both", "right") else x < self.high
        return above and below and not math.isinf(x)

    def __str__(self) -> str:
        left = "[" if self.closed in ("both", "left") else "("
        right = "]" if self.closed in ("both", "right") else ")"
        return f"in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Whole:
    """The whole numbers from ``low`` up to, without, ``high``."""

    low: int
    high: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value < self.high

    def __str__(self) -> str:
        return f"a whole number in [{self.low}, {self.high})"


NonNegative = Annotated[float, Interval(0, math.inf, "left")]
Positive = Annotated[float, Interval(0, math.inf, "neither")]
Fraction = Annotated[float, Interval(0, 1, "left")]
Seed = Annotated[int, Whole(0, 2**32)]
Betas = tuple[Fraction, Fraction]
Cap = Annotated[float | None, Interval(0, math.inf, "neither")]
"""A positive bound, or None for no bound; a rule sees None as infinity."""
Choice = bool | None
"""Yes, no, or None for what the other options suggest."""


def fields_of(cls: type, inherited: type) -> dict[str, Any]:
    """The hyperparameters that ``cls`` declares: name → annotation, in order; those of ``inherited`` are not."""
    hints = typing.get_type_hints(cls, include_extras=True)
    known = typing.get_type_hints(inherited, include_extras=True)
    found = {}
    for name, annotation in hints.items():
        if name in known or annotation is ClassVar or typing.get_origin(annotation) is ClassVar:
            continue
        if not hasattr(cls, name):
            raise RuleError(f"{cls.__name__}: {name} needs a default, as in `{name}: NonNegative = 0.0`")
        found[name] = annotation
    return found


def seen_by_rules(fields: Mapping[str, Any]) -> dict[str, str]:
    """How a rule's functions see the fields: argument name → Python text that reads it from a group ``h``.

    A tuple field ``betas`` is seen item by item, as ``beta1`` and ``beta2``.
    """
    seen = {}
    for name, annotation in fields.items():
        if typing.get_origin(annotation) is tuple:
            for index in range(len(typing.get_args(annotation))):
                seen[f"{name.removesuffix('s')}{index + 1}"] = f"h[{name!r}][{index}]"
        else:
            seen[name] = f"h[{name!r}]"
    return seen


def number(value: Any) -> float:
    """A setting as the float64 number that rules compute with: None is infinity, True is 1."""
    return math.inf if value is None else float(value)


def check(owner: str, name: str, value: Any, annotation: Any, place: str = "") -> None:
    """Raise `HyperparameterError` unless ``value`` satisfies what ``annotation`` declares."""
    kind = typing.get_origin(annotation)
    if kind is Annotated:
        if value is None and type(None) in typing.get_args(annotation.__origin__):
            return
        for constraint in annotation.__metadata__:
            if value not in constraint:
                raise HyperparameterError(f"{owner}: {name} must be {constraint}, got {_shown(value)}{place}")
    elif kind is tuple:
        inner = typing.get_args(annotation)
        if not isinstance(value, (tuple, list)) or len(value) != len(inner):
            raise HyperparameterError(
                f"{owner}: {name} must be {len(inner)} numbers, got {_shown(value)}{place}"
            )
        for index, (item, declared) in enumerate(zip(value, inner, strict=True)):
            check(owner, f"{name}[{index}]", item, declared, place)
    elif annotation == Choice:
        if value is not None and not isinstance(value, bool):
            raise HyperparameterError(
                f"{owner}: {name} must be True, False or None, got {_shown(value)}{place}"
            )
    elif annotation is bool and not isinstance(value, bool):
        raise HyperparameterError(f"{owner}: {name} must be True or False, got {_shown(value)}{place}")
    elif kind is typing.Literal and value not in typing.get_args(annotation):
        choices = ", ".join(map(repr, typing.get_args(annotation)))
        raise HyperparameterError(f"{owner}: {name} must be one of {choices}, got {_shown(value)}{place}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""Hyperparameters: the ranges a field may take, and the messages for values outside them."""

import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from accelerando.errors import HyperparameterError


@dataclass(frozen=True)
class Interval:
    """The real numbers between two bounds; ``closed`` names the bounds that belong to it."""

    low: float
    high: float
    closed: typing.Literal["both", "left", "right", "neither"] = "both"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool):
            return False
        try:
            x = float(value)  # type: ignore[arg-type]  # a tensor, NumPy scalar or number; others raise
        except (TypeError, ValueError, RuntimeError):
            return False
        above = x >= self.low if self.closed in ("both", "left") else x > self.low
        below = x <= self.high if self.closed in ("both", "right") else x < self.high
        return above and below and not math.isinf(x)

    def __str__(self) -> str:
        left = "[" if self.closed in ("both", "left") else "("
        right = "]" if self.closed in ("both", "right") else ")"
        return f"in {left}{self.low:g}, {self.high:g}{right}"


NonNegative = Annotated[float, Interval(0, math.inf, "left")]
Positive = Annotated[float, Interval(0, math.inf, "neither")]
Fraction = Annotated[float, Interval(0, 1, "left")]
Betas = tuple[Fraction, Fraction]


def check(owner: str, name: str, value: Any, annotation: Any, place: str = "") -> None:
    """Raise `HyperparameterError` unless ``value`` satisfies what ``annotation`` declares."""
    kind = typing.get_origin(annotation)
    if kind is Annotated:
        for constraint in annotation.__metadata__:
            if value not in constraint:
                raise HyperparameterError(f"{owner}: {name} must be {constraint}, got {value!r}{place}")
    elif kind is tuple:
        inner = typing.get_args(annotation)
        if not isinstance(value, (tuple, list)) or len(value) != len(inner):
            raise HyperparameterError(f"{owner}: {name} must be {len(inner)} numbers, got {value!r}{place}")
        for index, (item, item_annotation) in enumerate(zip(value, inner, strict=True)):
            check(owner, f"{name}[{index}]", item, item_annotation, place)
    elif annotation is bool and not isinstance(value, bool):
        raise HyperparameterError(f"{owner}: {name} must be True or False, got {value!r}{place}")

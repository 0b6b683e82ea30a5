"""Arguments of schedules, checked in one wording: owner, name, constraint, value, way out."""

import math
import numbers
from typing import Any

import numpy as np

from accelerando.errors import HyperparameterError


def whole(owner: str, name: str, value: Any, *, least: int = 1) -> int:
    """``value`` as an int of at least ``least``; a float with a whole value (JSON's 100.0) is one."""
    is_whole = isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole or value < least:
        raise HyperparameterError(
            f"{owner}: {name} must be a whole number of at least {least}, got {value!r}"
        )
    return int(value)


def real(
    owner: str,
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: bool = False,
) -> float:
    """``value`` as a finite float in [low, high], or in (low, high] where ``above``."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value > high or value < low or (above and value == low):
        left = f"({low:g}" if above else f"[{low:g}"
        raise HyperparameterError(f"{owner}: {name} must be a number in {left}, {high:g}], got {value!r}")
    return float(value)


def choice(owner: str, name: str, value: Any, options: tuple[str, ...]) -> str:
    """``value``, one of ``options``."""
    if value not in options:
        raise HyperparameterError(f"{owner}: {name} must be one of {', '.join(options)}, got {value!r}")
    return str(value)

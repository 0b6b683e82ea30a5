"""A group or tensor at a sampled step, in little: what a rise is looked for in, and its cause."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from accelerando.lens.recipes import CAUSES
from accelerando.lens.rise import HasGain
from accelerando.lens.rows import CAUSE_FIELDS, Row

MOVEMENTS = ("probe", "rise", "settle")
"""The causes that are a method's own movement."""


@dataclass(frozen=True, slots=True)
class Point:
    """A row in little: what a rise is looked for in."""

    step: int
    nominal: float
    gain: float
    grad_norm: float
    shares: tuple[float, ...]


def point_of(row: Row) -> Point | None:
    """The point of a row that has a gain."""
    if not row["gain"] or row[CAUSE_FIELDS[0]] is None or not row["grad_norm"]:
        return None
    shares = tuple(row[field] or 0.0 for field in CAUSE_FIELDS)
    return Point(row["step"], row["lr"] or 0.0, row["gain"], row["grad_norm"], shares)


def cause_of(before: Sequence[HasGain], after: Sequence[HasGain]) -> str:
    """The factor of log(gain) that grew most between two windows of points.

    The echo of a falling gradient is taken off the second moment.
    """
    early, late = ([p for p in window if isinstance(p, Point)] for window in (before, after))
    grown = {
        cause: median(p.shares[i] for p in late) - median(p.shares[i] for p in early)
        for i, cause in enumerate(CAUSES)
    }
    fall = median(math.log(p.grad_norm) for p in early) - median(math.log(p.grad_norm) for p in late)
    if grown["second moment"] > 0:
        grown["second moment"] = max(0.0, grown["second moment"] - max(0.0, fall))
    return max(grown, key=lambda cause: grown[cause])

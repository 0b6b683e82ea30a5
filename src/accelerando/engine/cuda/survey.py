"""One look at all gradients before a step: the norm to clip by, and whether a number is not finite.

It is a rule like any other, met in float64, whose decision stays on the device as the *control* of the steps after it.
"""

from functools import cache

from torch import sqrt, where

from accelerando.engine.anatomy import Rule, assemble


def _scalars():  # type: ignore[no-untyped-def]
    return ()


def _direction(g, clips, guards):  # type: ignore[no-untyped-def]
    square = where(clips > 0, g * g, 0)
    strange = where(g - g != 0, guards, 0)
    return g, square, strange


def _decide(square, strange):  # type: ignore[no-untyped-def]
    norm = sqrt(square)
    found = strange
    return norm, found


def _apply(p):  # type: ignore[no-untyped-def]
    return p


@cache
def survey() -> Rule:
    """The rule; its hyperparameters say, for each group, whether it ``clips`` and whether it ``guards``."""
    parts = {
        "buffers": (), "scalars": _scalars, "direction": _direction, "memory": {}, "when": "now", "decide": _decide,
        "sums": {"square": "all", "strange": "all"}, "apply": _apply,
    }  # fmt: skip
    return assemble("gradients", parts, {"clips": bool, "guards": bool})

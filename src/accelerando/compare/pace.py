"""Which steps of a trial the lens reads: all at first, then ever fewer, at last evenly.

A method that raises its rate by itself often does so within its first dozens of steps, whatever the budget;
even readings see nothing of it but that it is over.
"""

import math

EARLY = 16
"""Steps are read one by one until twice this number, and half as often whenever their number has doubled."""


def evenly(steps: int, readings: int) -> int:
    """The distance of the even readings: the power of two nearest to ``steps / readings``."""
    return 1 << max(0, round(math.log2(max(1.0, steps / readings))))


def spacing(step: int, widest: int) -> int:
    """The distance of readings at that step: a power of two, at most ``widest``, so that the even ones are all in it.

    >>> [spacing(step, 8) for step in (1, 31, 32, 64, 128, 256)]
    [1, 1, 2, 4, 8, 8]
    """
    return min(widest, 1 << (max(1, step // EARLY).bit_length() - 1))


def due(step: int, widest: int) -> bool:
    """Whether that step, counted from 1, is read.

    >>> [step for step in range(1, 100) if due(step, 8)][-6:]
    [77, 81, 85, 89, 93, 97]
    """
    return (step - 1) % spacing(step, widest) == 0

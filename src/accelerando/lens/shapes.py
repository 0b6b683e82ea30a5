"""The shape of a schedule, from the rates it has set."""

import math
from collections.abc import Sequence


def risen_past_a_cosine(rates: Sequence[tuple[int, float]]) -> int | None:
    """The step at which a half cosine ended, if the rate has fallen along one and rises along it again.

    Args:
        rates: (step, rate), in order.

    Returns:
        None unless the rate fell by half or more, has come up by a fiftieth of the fall, and was never
        farther than 3 % of the fall from the cosine, down and up (a straight line is).
    """
    values = [rate for _, rate in rates]
    bottom, last = min(values), values[-1]
    low = len(values) - 1 - values[::-1].index(bottom)
    if low < 6:
        return None
    top = _top(values, low)
    fall = values[top] - bottom
    if low - top < 6 or fall < 0.5 * values[top] or last - bottom < fall / 50:
        return None
    start, step = rates[top][0], (rates[low][0] - rates[top][0]) / (low - top)
    shape = [(at - start, (value - bottom) / fall) for at, value in rates[top:]]
    lengths = (rates[low][0] - start + step * k / 4 for k in range(-4, 5))  # the end falls between samples
    return rates[low][0] if any(_mirrored(shape, length) for length in lengths) else None


def _mirrored(shape: Sequence[tuple[int, float]], length: float) -> bool:
    """Whether the values follow a cosine of this half period down and up, until it is up again."""
    for at, value in shape:
        phase = math.pi * at / length
        if phase > 2 * math.pi:
            break
        if abs(value - (1 + math.cos(phase)) / 2) > 0.03:
            return False
    return True


def _top(values: Sequence[float], low: int) -> int:
    """Where the fall to the bottom began."""
    i = low
    while i > 0 and values[i - 1] >= values[i]:
        i -= 1
    while i < low and values[i + 1] == values[i]:
        i += 1
    return i

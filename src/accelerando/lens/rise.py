"""Did the rate rise? The largest rise of gain that a changed gradient scale does not explain."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CERTAINTY = 5.0
"""How many standard errors a rise must stand above the noise; many pairs of windows are looked at."""


NEAR = 1e-9
"""How far logarithms may be from each other that ought to be the same."""


class HasGain(Protocol):
    """What a rise is looked for in: `accelerando.lens.Reading`, or anything with these numbers."""

    @property
    def step(self) -> int:
        """The step's number."""

    @property
    def nominal(self) -> float:
        """The nominal rate."""

    @property
    def gain(self) -> float:
        """‖d‖/‖g‖."""

    @property
    def grad_norm(self) -> float:
        """‖g‖."""


@dataclass(frozen=True, slots=True)
class Found:
    """A rise: the step at which gain was half-way up, the factor, and the readings of the two windows."""

    step: int
    factor: float
    early: tuple[HasGain, ...]
    late: tuple[HasGain, ...]


def rise_of(readings: Sequence[HasGain], least: float = 1.1) -> tuple[int, float] | None:
    """The largest rise of gain at unchanged gradient scale, as ``(step, factor)``; None if it never rose.

    Gain is compared between the medians of two windows, an earlier and a later one, so that a few odd steps
    neither make nor hide a rise. What the nominal rate rose by counts in full; of what gain rose by beyond
    that, as much is taken off as a fall of the gradient norm between the same windows can account for (an
    adaptive method divides by the gradient's scale, so a falling gradient alone lifts its gain). The factor
    is so a lower bound, never the echo of a smaller gradient. It must reach ``least`` and stand 5 standard
    errors above the noise between neighbouring readings.

    A rise that the schedule asked for is therefore found too. To ask only for what the optimizer did by
    itself, give readings whose gain is divided by their nominal rate and whose nominal rate is 1.

    Args:
        readings: in order of time; those with a gain or gradient norm that is not positive are left out.
        least: the smallest factor called a rise, above 1.

    Returns:
        The step at which gain crossed half-way (in its logarithm) to the later window, and the factor,
        the median over all pairs of windows that are as good as the best one within the noise.
        None also for fewer than six readings, which cannot tell a rise from noise.
    """
    found = find_rise(readings, least)
    return None if found is None else (found.step, found.factor)


def find_rise(readings: Sequence[HasGain], least: float = 1.1) -> Found | None:
    """What `rise_of` finds, with the readings of the earlier and the later window."""
    kept = [r for r in readings if r.gain > 0 and r.grad_norm > 0 and math.isfinite(r.gain * r.grad_norm)]
    step, gain = np.array([r.step for r in kept], dtype=float), np.array([r.gain for r in kept])
    norm, nominal = np.array([r.grad_norm for r in kept]), np.array([r.nominal for r in kept])
    found = risen_in(step, gain, norm, nominal, least)
    if found is None:
        return None
    early, late = (tuple(kept[begin : begin + found.width]) for begin in (found.early, found.late))
    return Found(found.step, found.factor, early, late)


class Windows(NamedTuple):
    """A rise: when, how much, and where the earlier and the later window begin, each of so many readings."""

    step: int
    factor: float
    early: int
    late: int
    width: int


def risen_in(step: Array, gain: Array, grad_norm: Array, nominal: Array, least: float) -> Windows | None:
    """What `rise_of` finds in columns; gains and norms are above zero."""
    if len(gain) < 6:
        return None
    bar, g = math.log(least), np.log(gain)
    if g.max() - g.min() < bar - NEAR:  # no two windows differ by more
        return None
    n, lr = np.log(grad_norm), np.log(np.where(nominal > 0, nominal, 1.0))
    width = max(3, min(7, len(g) // 8))
    medians = (_medians(g, width), _medians(n, width), _medians(lr, width))
    if not _may_have_risen(*medians, bar):
        return None
    risen, error = _risen(*medians, width), _error(g - lr, n, width)
    best = float(risen.max())
    if not best >= max(bar, CERTAINTY * error):
        return None
    near = np.argwhere(risen >= best - max(error, 1e-9))
    early, late = (int(i) for i in min(near.tolist(), key=lambda pair: (pair[1] - pair[0], pair[1])))
    at = _crossing(g, early, late, width)
    factor = math.exp(float(np.median(risen[near[:, 0], near[:, 1]])))
    return Windows(int(step[at]), factor, early, late, width)


def _may_have_risen(g: Array, n: Array, r: Array, bar: float) -> bool:
    """Whether two windows may be so far apart: at a constant rate gain has to rise, and so has gain × norm."""
    if r.max() != r.min():
        return True
    return all(float((x - np.minimum.accumulate(x)).max()) >= bar - NEAR for x in (g, g + n))


def _risen(g: Array, n: Array, r: Array, width: int) -> Array:
    """For every pair of windows, by their medians, the rise from the row's to the column's."""
    total, nominal = g[None, :] - g[:, None], r[None, :] - r[:, None]
    rest = total - nominal
    echo = np.minimum(np.maximum(rest, 0), np.maximum(n[:, None] - n[None, :], 0))
    ahead = np.arange(len(g))[None, :] - np.arange(len(g))[:, None] >= width
    return np.where(ahead, total - echo, -np.inf)


def _error(beyond: Array, norm: Array, width: int) -> float:
    """Standard error of a difference of two medians, from neighbouring readings' median difference.

    The noise is that of gain × gradient norm or of gain alone, whichever is larger: what the discount leaves.
    """
    spread = max(float(np.median(np.abs(np.diff(x)))) for x in (beyond, beyond + norm))
    noise = 1.4826 * spread / math.sqrt(2)
    return noise * math.sqrt(2) * 1.2533 / math.sqrt(width)


def _medians(x: Array, width: int) -> Array:
    ordered = np.sort(np.lib.stride_tricks.sliding_window_view(x, width), axis=1)
    return np.asarray((ordered[:, (width - 1) // 2] + ordered[:, width // 2]) / 2)


def _crossing(gain: Array, early: int, late: int, width: int) -> int:
    """The first reading after which gain, smoothed over three, stays above half-way to the later window."""
    smooth = np.concatenate([gain[:1], _medians(gain, 3), gain[-1:]])
    low, high = np.median(gain[early : early + width]), np.median(gain[late : late + width])
    at = late + width // 2
    while at > early and smooth[at - 1] >= (low + high) / 2:
        at -= 1
    return at

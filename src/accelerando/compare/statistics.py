"""Statistics that hold at few seeds: intervals, exact tests, verdicts, robustness, and time to a target.

A seed's value is its last held-out loss, lower is better; a diverged seed is ``inf``: the worst rank,
never dropped. Means and differences are taken on one scale for a whole comparison: the logarithm where
every finite value is positive (then they read as ratios), the values themselves otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

Scale = Literal["log", "linear"]
Verdict = Literal["better", "no difference shown", "worse", "too few seeds"]
Array = npt.NDArray[np.float64]

LEVEL = 0.05
"""Two-sided level of every test, after Holm's correction; intervals cover 1 - LEVEL."""

_ENUMERATED = 20
_DRAWN = 1 << 18


@dataclass(frozen=True)
class Summary:
    """What the seeds of one strategy say: a centre with its Student interval.

    The centre is the geometric mean on the log scale, the mean on the linear one, and ``inf`` where a seed
    diverged; then, or with a single seed, `low` and `high` are NaN. The median counts diverged seeds as
    worst.
    """

    centre: float
    low: float
    high: float
    median: float
    n: int
    diverged: int


@dataclass(frozen=True)
class Comparison:
    """One strategy against another on the seeds they share.

    Attributes:
        effect: ratio of the losses (log scale) or their difference (linear); below 1 or 0 is better. ``inf``
            where only this one diverged somewhere, NaN where the other or both did.
        low: lower end of the paired-t interval of the effect; NaN where there is none.
        high: upper end of it.
        p: exact two-sided sign-flip p-value.
        adjusted: `p` after Holm's correction over the comparisons made together.
        n: number of shared seeds.
        verdict: by the adjusted p-value and the direction.
    """

    effect: float
    low: float
    high: float
    p: float
    adjusted: float
    n: int
    verdict: Verdict


def scale_of(values: Sequence[float]) -> Scale:
    """``log`` where every finite value is positive and there is one, ``linear`` otherwise."""
    finite = [value for value in values if math.isfinite(value)]
    return "log" if finite and min(finite) > 0 else "linear"


def student(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and Student interval of finite values; NaN ends for fewer than two."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return math.nan, math.nan, math.nan
    mean = float(data.mean())
    if data.size < 2:
        return mean, math.nan, math.nan
    half = float(special.stdtrit(data.size - 1, 1 - LEVEL / 2) * data.std(ddof=1) / math.sqrt(data.size))
    return mean, mean - half, mean + half


def summary(values: Sequence[float], scale: Scale) -> Summary:
    """Centre, interval and median of one strategy's seeds.

    Args:
        values: one per seed, ``inf`` for a diverged one. NaN counts as diverged.
        scale: of the whole comparison, from `scale_of`.
    """
    data = [value if math.isfinite(value) else math.inf for value in values]
    lost = sum(math.isinf(value) for value in data)
    median = float(np.median(data)) if data else math.nan
    if lost:
        return Summary(math.inf, math.nan, math.nan, median, len(data), lost)
    mean, low, high = (_back(value, scale) for value in student(_onto(data, scale)))
    return Summary(mean, low, high, median, len(data), 0)


def differences(ours: Sequence[float], theirs: Sequence[float], scale: Scale) -> Array:
    """Paired differences on the scale, ±inf where one side diverged and 0 where both did."""
    return np.array([_difference(a, b, scale) for a, b in zip(ours, theirs, strict=True)], dtype=np.float64)


def sign_flip(values: Sequence[float] | Array) -> float:
    """Exact two-sided p-value that differences are symmetric around 0, every sign enumerated.

    The statistic is the sum; with infinite differences it is the sum of signed ranks, the infinite ones
    ranking highest (Wilcoxon's). Beyond 20 differences 2^18 random sign vectors from a fixed stream stand
    for all.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return 1.0
    if not np.isfinite(data).all():
        data = np.sign(data) * ranks(np.abs(data))
    observed = abs(float(data.sum())) * (1 - 1e-12)
    if data.size > _ENUMERATED:
        signs = np.random.default_rng(0).integers(0, 2, (_DRAWN, data.size), dtype=np.int8) * 2 - 1
        return float((1 + np.count_nonzero(np.abs(signs @ data) >= observed)) / (1 + _DRAWN))
    sums = np.zeros(1)
    for value in np.abs(data):
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= observed))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    count = len(p_values)
    adjusted, running = [1.0] * count, 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def seeds_needed(comparisons: int) -> int:
    """The fewest seeds with which one of that many comparisons could reach the level: 2^(1-n)·m ≤ LEVEL."""
    return 1 + math.ceil(math.log2(max(comparisons, 1) / LEVEL))


def compare(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], scale: Scale) -> list[Comparison]:
    """Each pair (ours, theirs) of equally long seeds compared, with Holm's correction over all pairs."""
    gaps = [differences(ours, theirs, scale) for ours, theirs in pairs]
    raw = [sign_flip(gap) for gap in gaps]
    return [
        _comparison(gap, p, adjusted, len(pairs), scale)
        for gap, p, adjusted in zip(gaps, raw, holm(raw), strict=True)
    ]


def centres(losses: Mapping[float, Sequence[float]], scale: Scale) -> dict[float, float]:
    """Rate → centre of its seeds (``inf`` where one diverged), by rising rate."""
    return {rate: summary(losses[rate], scale).centre for rate in sorted(losses)}


def robustness(curve: Mapping[float, float], within: float = 1.05) -> float:
    """Decades of rate whose loss is at most `within` times the best one's: the length of its `stretches`.

    Rates beyond the grid do not count, so this is a lower bound for an optimum at its edge.

    Args:
        curve: rate → loss, ``inf`` where diverged.
        within: the factor, above 1.

    Returns:
        Decades ≥ 0; NaN where no rate has a finite loss.
    """
    if not any(math.isfinite(loss) for loss in curve.values()):
        return math.nan
    return sum(math.log10(high / low) for low, high in stretches(curve, within))


def stretches(curve: Mapping[float, float], within: float = 1.05) -> list[tuple[float, float]]:
    """The ranges of rate, by segments of the grid, whose loss is at most `within` times the best one's.

    Between grid points log(loss) is taken as linear in log(rate); where the best loss is not positive,
    loss − best is compared with (within − 1)·|best| instead.
    """
    rates = sorted(curve)
    finite = [loss for loss in curve.values() if math.isfinite(loss)]
    if not finite:
        return []
    best = min(finite)
    positive = best > 0
    heights = [math.log(curve[r] / best) if positive else curve[r] - best for r in rates]
    bar = math.log(within) if positive else (within - 1) * abs(best)
    segments = zip(rates, rates[1:], heights, heights[1:], strict=False)
    found = [_below(a, b, x, y, bar) for a, b, x, y in segments]
    return [segment for segment in found if segment is not None]


def steps_to(evals: Sequence[tuple[int, Mapping[str, float]]], target: float) -> int | None:
    """The first evaluated step whose held-out loss is at most the target; None if there is none."""
    return next((step for step, metrics in evals if metrics.get("loss", math.inf) <= target), None)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's; NaN for fewer than three pairs or a constant side."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def ranks(values: Sequence[float] | Array) -> Array:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _comparison(gap: Array, p: float, adjusted: float, count: int, scale: Scale) -> Comparison:
    finite = bool(np.isfinite(gap).all())
    if finite:
        effect, low, high = (_back(value, scale) for value in student(list(gap)))
    else:
        effect = math.inf if (gap > -math.inf).all() else math.nan
        low = high = math.nan
    direction = float(gap.sum()) if finite else float((np.sign(gap) * ranks(np.abs(gap))).sum())
    verdict: Verdict = "no difference shown"
    if gap.size < seeds_needed(count):
        verdict = "too few seeds"
    elif adjusted <= LEVEL:
        verdict = "better" if direction < 0 else "worse"
    return Comparison(effect, low, high, p, adjusted, int(gap.size), verdict)


def _difference(ours: float, theirs: float, scale: Scale) -> float:
    lost, other_lost = not math.isfinite(ours), not math.isfinite(theirs)
    if lost or other_lost:
        return 0.0 if lost and other_lost else (math.inf if lost else -math.inf)
    return math.log(ours / theirs) if scale == "log" else ours - theirs


def _onto(values: Sequence[float], scale: Scale) -> list[float]:
    return [math.log(value) for value in values] if scale == "log" else list(values)


def _back(value: float, scale: Scale) -> float:
    return math.exp(value) if scale == "log" else value


def _below(
    left: float, right: float, at_left: float, at_right: float, bar: float
) -> tuple[float, float] | None:
    """The part of a segment of rates whose height lies at or below the bar."""
    if min(at_left, at_right) > bar:
        return None
    if max(at_left, at_right) <= bar:
        return left, right
    if math.isinf(max(at_left, at_right)):
        return None
    cut = left * (right / left) ** ((bar - at_left) / (at_right - at_left))
    return (left, cut) if at_left <= bar else (cut, right)

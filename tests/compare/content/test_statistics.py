"""Intervals, tests and verdicts against their definitions, scipy and arithmetic by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accelerando.compare import statistics as s
from accelerando.compare.profiles import profiles

inf, nan = math.inf, math.nan
numbers = st.floats(-100, 100).map(lambda x: round(x, 3))


def test_student_is_scipys_interval():
    data = [0.3, 0.5, 0.45, 0.7, 0.62]
    expected = stats.t.interval(0.95, 4, np.mean(data), stats.sem(data))
    assert s.student(data) == pytest.approx((np.mean(data), *expected))


def test_a_summary_on_the_log_scale_is_a_geometric_mean():
    made = s.summary([1.0, 10.0, 100.0], "log")
    assert made.centre == pytest.approx(10.0)
    assert made.low * made.high == pytest.approx(100.0)


def test_one_seed_has_no_interval_and_none_has_nothing():
    assert math.isnan(s.summary([2.0], "linear").low)
    assert math.isnan(s.summary([], "linear").centre)


def test_a_diverged_seed_is_kept_as_the_worst():
    made = s.summary([1.0, nan, 3.0, inf, 2.0], "log")
    assert (made.centre, made.median, made.n, made.diverged) == (inf, 3.0, 5, 2)


def test_the_scale_is_log_only_for_positive_losses():
    assert s.scale_of([0.1, inf, 2.0]) == "log"
    assert s.scale_of([0.0, 2.0]) == "linear"
    assert s.scale_of([inf]) == "linear"


@given(st.lists(numbers, min_size=1, max_size=8))
def test_sign_flip_is_the_enumeration(values):
    observed = abs(sum(values))
    sums = [
        abs(sum(a * b for a, b in zip(values, signs, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    expected = sum(total >= observed - 1e-9 for total in sums) / len(sums)
    assert s.sign_flip(values) == pytest.approx(expected)


def test_sign_flip_agrees_with_scipys_exact_permutation_test():
    data = np.random.default_rng(1).normal(0.4, 1.0, 9)
    theirs = stats.permutation_test((data,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert s.sign_flip(data) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize(("n", "p"), [(3, 0.25), (5, 0.0625), (10, 2 / 1024)])
def test_the_smallest_attainable_p(n, p):
    assert s.sign_flip(np.arange(1.0, n + 1)) == pytest.approx(p)


def test_infinite_differences_rank_highest():
    data = [-0.1, -0.2, 0.3, -inf, -inf, -0.5, -0.4, -0.6, -0.7, -0.8]
    ranked = np.array([-1, -2, 3, -9.5, -9.5, -5, -4, -6, -7, -8])
    assert s.sign_flip(data) == pytest.approx(s.sign_flip(ranked))
    assert s.sign_flip(data) < 0.05


def test_many_seeds_are_drawn_repeatably_and_close_to_the_truth():
    data = np.random.default_rng(5).normal(0.3, 1.0, 25)
    first = s.sign_flip(data)
    assert first == s.sign_flip(data)
    normal = 2 * stats.norm.sf(abs(data.sum()) / math.sqrt((data**2).sum()))
    assert first == pytest.approx(normal, rel=0.1)


def test_holm_by_hand():
    assert s.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert s.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_monotone_and_between_p_and_bonferroni(p):
    adjusted = s.holm(p)
    for raw, new in zip(p, adjusted, strict=True):
        assert raw <= new <= min(1.0, len(p) * raw) + 1e-12 or new == max(adjusted[: len(p)])
    order = np.argsort(p, kind="stable")
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(order))


def test_verdicts():
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(0, 0.05, 10))
    much_better, same, much_worse = base * 0.8, base * np.exp(rng.normal(0, 0.05, 10)), base * 1.3
    made = s.compare([(much_better, base), (same, base), (much_worse, base)], "log")
    assert [c.verdict for c in made] == ["better", "no difference shown", "worse"]
    assert made[0].effect == pytest.approx(0.8)
    assert made[0].low == pytest.approx(0.8) and made[0].high == pytest.approx(0.8)


def test_three_seeds_can_show_nothing():
    made = s.compare([([1.0, 1.1, 1.2], [9.0, 9.1, 9.2])], "log")
    assert made[0].verdict == "too few seeds"
    assert s.seeds_needed(1) == 6 and s.seeds_needed(9) == 9
    for count in range(1, 30):
        n = s.seeds_needed(count)
        assert count * 2.0 ** (1 - n) <= s.LEVEL < count * 2.0 ** (2 - n)


def test_divergence_counts_against_a_strategy():
    base = list(np.linspace(0.9, 1.1, 10))
    made = s.compare([([inf] * 10, base), (base, [inf] * 10), ([inf] * 10, [inf] * 10)], "log")
    assert [c.verdict for c in made] == ["worse", "better", "no difference shown"]
    assert made[0].effect == inf and math.isnan(made[1].effect)


def test_robustness_in_decades():
    flat = {1e-4: 1.0, 1e-3: 1.0, 1e-2: 1.0, 1e-1: inf}
    assert s.robustness(flat) == pytest.approx(2.0)
    slope = {1e-3: 1.05**2, 1e-2: 1.0, 1e-1: 1.05**4}
    assert s.robustness(slope) == pytest.approx(0.5 + 0.25)
    assert s.robustness({1e-3: 3.0}) == 0.0
    assert math.isnan(s.robustness({1e-3: inf}))
    assert s.robustness({1e-3: -0.9, 1e-2: -1.0, 1e-1: 5.0}) == pytest.approx(0.5 + 0.05 / 6)


def test_centres_sort_rates_and_mark_divergence():
    made = s.centres({0.1: [1.0, inf], 0.01: [1.0, 4.0]}, "log")
    assert list(made.items()) == [(0.01, pytest.approx(2.0)), (0.1, inf)]


def test_steps_to_a_target():
    evals = [(0, {"loss": 2.0}), (10, {"loss": nan}), (20, {"loss": 0.5}), (30, {"loss": 0.4})]
    assert s.steps_to(evals, 0.5) == 20
    assert s.steps_to(evals, 0.1) is None


def test_ranks_and_their_correlation_are_scipys():
    x, y = [3.0, 1.0, math.inf, 1.0, 2.0, 2.0, 2.0], [0.1, 0.2, 0.2, 0.5, -1.0, 7.0, 0.3]
    assert list(s.ranks(x)) == list(stats.rankdata(x))
    assert s.rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)


def test_rank_correlation():
    assert s.rank_correlation([1, 2, 3], [1, 8, 27]) == pytest.approx(1.0)
    assert math.isnan(s.rank_correlation([1, 1, 1], [1, 2, 3]))


def test_profiles_by_hand():
    costs = {
        "one": {"a": 10.0, "b": 20.0, "c": inf},
        "two": {"a": 30.0, "b": 10.0, "c": 10.0},
        "nobody": {"a": inf, "b": inf, "c": inf},
    }
    made = {profile.strategy: profile for profile in profiles(costs)}
    assert (
        made["a"].ratios == (1.0, 3.0) and made["b"].ratios == (1.0, 2.0) and made["c"].ratios == (1.0, inf)
    )
    assert made["b"].share(1.0) == 0.5 and made["b"].share(2.0) == 1.0
    assert [profile.strategy for profile in profiles(costs)] == ["b", "a", "c"]
    assert made["b"].score() == pytest.approx((3 + 2) / 3 / 2)
    assert profiles({"nobody": {"a": inf}}) == []


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_what_they_say(n):
    losses = np.exp(np.random.default_rng(n).normal(0.0, 0.5, (3000, n)))
    made = [s.summary(list(row), "log") for row in losses]
    covered = np.mean([summary.low <= 1.0 <= summary.high for summary in made])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 3000))


def test_equal_strategies_are_seldom_told_apart():
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        base, *others = np.exp(rng.normal(0.0, 0.2, (6, 10)))
        made = s.compare([(list(other), list(base)) for other in others], "log")
        wrong += any(c.verdict in ("better", "worse") for c in made)
    assert wrong / 300 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)

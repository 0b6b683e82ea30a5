"""The verdict in one sentence, and what rose by itself in another."""

import math

from .. import statistics
from . import numbers
from .digest import Digest, Row
from .words import Words


def headline(digest: Digest, say: Words) -> str:
    """Who reached the lowest loss, and whether that is shown to be better than the baseline."""
    if not digest.ranked:
        return say("headline.nothing")
    best = digest.ranked[0]
    values: dict[str, object] = {
        "best": best.name,
        "baseline": digest.experiment.baseline,
        "loss": numbers.loss(best.summary.centre),
        "n": best.summary.n,
        "needed": needed(digest),
    }
    if best.versus is not None:
        values["effect"] = numbers.effect(best.versus, digest.scale)
        values["below"] = numbers.below(best.versus.effect)
        ends = (numbers.below(best.versus.high), numbers.below(best.versus.low))
        values["ends"] = say("interval.ends", low=ends[0], high=ends[1])
    return say.fill(_headline(digest, best), values)


def _headline(digest: Digest, best: Row) -> str:
    """The key of the sentence."""
    if len(digest.ranked) == 1:
        return "headline.alone"
    if digest.baseline is None:
        return "headline.no_baseline"
    found = [row.versus.verdict for row in digest.rows if row.versus is not None]
    if best.versus is None:
        return "headline.few" if "too few seeds" in found else "headline.baseline_best"
    if best.versus.verdict == "better":
        if math.isnan(best.versus.low):
            return "headline.better_diverged"
        return "headline.better" if digest.scale == "log" else "headline.better_linear"
    return "headline.few" if best.versus.verdict == "too few seeds" else "headline.not_shown"


def needed(digest: Digest) -> int:
    """Fresh seeds with which one of the comparisons could show a difference."""
    return statistics.seeds_needed(sum(row.versus is not None for row in digest.rows))


def rises(digest: Digest, say: Words) -> str:
    """Which strategies raised their rate beyond what the schedule asked for."""
    measured = [row for row in digest.rows if row.rise.of]
    if not measured:
        return say("rises.unmeasured")
    rose = sorted((row for row in measured if row.rise.shown), key=lambda row: -row.rise.factor)
    if not rose:
        return say("rises.none")
    parts = [
        say("rises.one", name=row.name, factor=numbers.factor(row.rise.factor), step=row.rise.step)
        for row in rose
    ]
    return say("rises.some", list=("；" if say.lang == "zh" else "; ").join(parts))


def rise(row: Row, say: Words) -> str:
    """A cell: did this one raise its rate?"""
    if not row.rise.of:
        return say("rise.unmeasured")
    if not row.rise.seeds:
        return say("rise.no")
    key = "few" if not row.rise.shown else ("yes" if row.rise.seeds == row.rise.of else "most")
    values = {"factor": numbers.factor(row.rise.factor), "step": row.rise.step}
    return say(f"rise.{key}", seeds=row.rise.seeds, of=row.rise.of, **values)


def nominal(row: Row, say: Words) -> str:
    """A cell: what the schedule did."""
    if row.nominal is None:
        return numbers.NONE
    if row.nominal.rise > 1.001:
        return say("nominal.rises", factor=numbers.factor(row.nominal.rise))
    if row.nominal.last < 1e-3:
        return say("nominal.zero")
    if row.nominal.last < 0.999:
        return say("nominal.falls", factor=numbers.factor(row.nominal.last))
    return say("nominal.constant")


def standing(row: Row, digest: Digest, say: Words) -> str:
    """A cell: the verdict against the baseline."""
    if row.name == digest.experiment.baseline:
        return say("verdict.baseline")
    return say(f"verdict.{row.versus.verdict}") if row.versus else say("verdict.none")

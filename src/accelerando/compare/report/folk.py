"""The common advice, claim by claim, beside what was measured here."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .. import statistics
from ..pace import evenly
from . import numbers
from .digest import Digest, Row, paired

Standing = Literal["held", "did not hold", "not shown", "not tested"]
Values = dict[str, str | int]

WIDER = 0.25
"""Decades of rate that count as more robust: a quarter of the default grid's step."""

CALMER = 0.95
"""A loss at the largest rate below this share of the other's counts as more stable."""


@dataclass(frozen=True)
class Claim:
    """One sentence of the advice and its measurement.

    Attributes:
        key: of the sentence, in the table of messages.
        standing: what became of it here.
        measured: key and values of the sentence that says what was measured.
    """

    key: str
    standing: Standing
    measured: tuple[str, Values]


def claims(digest: Digest) -> list[Claim]:
    """Every claim in the order of the advice; those whose strategies did not run say so."""
    duels = (
        ("decay", "adamw+cosine", "adam+cosine"),
        ("small_data", "adam+cyclic", "adam"),
        ("cosine", "adam+cosine", "adam"),
        ("plateau", "adam+plateau", "adam"),
    )
    fought = _duels(digest, duels)
    return [
        _default(digest),
        _never_raises(digest),
        fought["decay"],
        _both(digest, "unstable", "radam", "adam", _calmer),
        _both(digest, "robust", "adabelief", "adam", _wider),
        Claim("folk.large_batch", "not tested", ("folk.measured.one_batch_size", {})),
        _agreement(digest),
        fought["small_data"],
        fought["cosine"],
        fought["plateau"],
    ]


def find(digest: Digest, name: str) -> Row | None:
    """The strategy the advice means, if it ran: by its own name, else the same method of another library.

    ``adam+cosine`` also means ``torch.optim:Adam+cosine``, without options.
    """
    named = digest.row(name)
    if named is not None:
        return named
    optimizer, _, schedule = name.partition("+")
    for row in digest.ranked:
        method = str(row.about["optimizer"]).rpartition(":")[2].rpartition(".")[2].lower()
        if (method, row.about["schedule"]) == (optimizer, schedule) and not row.about["options"]:
            return row
    return None


def _missing(digest: Digest, key: str, *names: str) -> Claim | None:
    absent = [name for name in names if find(digest, name) is None]
    if not absent:
        return None
    return Claim(f"folk.{key}", "not tested", ("folk.measured.missing", {"names": ", ".join(absent)}))


def _default(digest: Digest) -> Claim:
    adam = find(digest, "adam")
    if adam is None or len(digest.ranked) < 2:
        return _missing(digest, "default", "adam") or Claim(
            "folk.default", "not tested", ("folk.measured.alone", {})
        )
    others = [row for row in digest.ranked if row is not adam]
    made = statistics.compare([paired(row, adam) for row in others], digest.scale)
    better = [row.name for row, found in zip(others, made, strict=True) if found.verdict == "better"]
    enough = all(found.verdict != "too few seeds" for found in made)
    standing: Standing = "did not hold" if better else ("held" if enough else "not shown")
    place = digest.ranked.index(adam) + 1
    values: Values = {
        "name": adam.name,
        "place": place,
        "of": len(digest.ranked),
        "names": ", ".join(better) or numbers.NONE,
    }
    return Claim("folk.default", standing, ("folk.measured.place", values))


def _never_raises(digest: Digest) -> Claim:
    adam = find(digest, "adam")
    if adam is None or not adam.rise.of:
        return _missing(digest, "never_raises", "adam") or Claim(
            "folk.never_raises", "not tested", ("folk.measured.no_readings", {})
        )
    some: Standing = "did not hold" if adam.rise.shown else "not shown"
    return Claim("folk.never_raises", some if adam.rise.seeds else "held", _rise(adam))


def _duels(digest: Digest, duels: tuple[tuple[str, str, str], ...]) -> dict[str, Claim]:
    """Paired comparisons made together, with Holm's correction over those that could be run."""
    found: dict[str, Claim] = {}
    rows = {key: (find(digest, ours), find(digest, theirs)) for key, ours, theirs in duels}
    able = {key: (a, b) for key, (a, b) in rows.items() if a is not None and b is not None}
    made = statistics.compare([paired(a, b) for a, b in able.values()], digest.scale)
    standings: dict[statistics.Verdict, Standing] = {
        "better": "held",
        "worse": "did not hold",
        "no difference shown": "not shown",
        "too few seeds": "not shown",
    }
    for (key, (ours, theirs)), result in zip(able.items(), made, strict=True):
        values: Values = {
            "ours": ours.name,
            "theirs": theirs.name,
            "effect": numbers.effect(result, digest.scale),
            "p": numbers.p_value(result.adjusted),
            "n": result.n,
        }
        found[key] = Claim(f"folk.{key}", standings[result.verdict], ("folk.measured.duel", values))
    for key, ours_name, theirs_name in duels:
        if key not in found:
            claim = _missing(digest, key, ours_name, theirs_name)
            assert claim is not None, "a duel that was not fought misses a strategy"
            found[key] = claim
    return found


def _both(digest: Digest, key: str, name: str, other: str, judge: Callable[[str, Row, Row], Claim]) -> Claim:
    row, against = find(digest, name), find(digest, other)
    if row is None or against is None:
        claim = _missing(digest, key, name, other)
        assert claim is not None, "one of the two did not run"
        return claim
    return judge(f"folk.{key}", row, against)


def _calmer(key: str, row: Row, other: Row) -> Claim:
    shared = sorted(row.tuned.keys() & other.tuned.keys())
    if not shared:
        return Claim(key, "not tested", ("folk.measured.no_tuning", {}))
    top = shared[-1]
    ours, theirs = row.curve[top], other.curve[top]
    calmer = ours <= CALMER * theirs if math.isfinite(theirs) else math.isfinite(ours)
    values: Values = {
        "rate": numbers.rate(top),
        "ours": row.name,
        "loss": numbers.loss(ours),
        "theirs": other.name,
        "other": numbers.loss(theirs),
        "lost": sum(math.isinf(loss) for losses in row.tuned.values() for loss in losses),
        "other_lost": sum(math.isinf(loss) for losses in other.tuned.values() for loss in losses),
    }
    return Claim(key, "held" if calmer else "did not hold", ("folk.measured.largest_rate", values))


def _wider(key: str, row: Row, other: Row) -> Claim:
    if not row.tuned or not other.tuned:
        return Claim(key, "not tested", ("folk.measured.no_tuning", {}))
    wider = row.decades[1] >= other.decades[1] + WIDER
    values: Values = {
        "ours": row.name,
        "tight": numbers.decades(row.decades[0]),
        "wide": numbers.decades(row.decades[1]),
        "theirs": other.name,
        "other_tight": numbers.decades(other.decades[0]),
        "other_wide": numbers.decades(other.decades[1]),
    }
    return Claim(key, "held" if wider else "did not hold", ("folk.measured.decades", values))


def _agreement(digest: Digest) -> Claim:
    lamb = find(digest, "lamb")
    if lamb is None or not lamb.rise.of:
        return _missing(digest, "agreement", "lamb") or Claim(
            "folk.agreement", "not tested", ("folk.measured.no_readings", {})
        )
    if not lamb.rise.shown:
        return Claim("folk.agreement", "did not hold", _rise(lamb))
    follows = follows_alignment(lamb)
    values = _rise(lamb)[1]
    standing: Standing = "held" if follows >= 0.3 else "did not hold"
    rho = numbers.NONE if math.isnan(follows) else f"{follows:+.2f}"
    return Claim("folk.agreement", standing, ("folk.measured.rise_and_alignment", {**values, "rho": rho}))


def follows_alignment(row: Row) -> float:
    """Median over seeds of the rank correlation between gain over nominal rate and alignment, over time.

    Of the even readings alone: with all, the first steps would count for more than the others.
    """
    found = []
    for outcome in row.fresh:
        every = evenly(outcome.trial.steps, outcome.trial.readings)
        even = [point for point in outcome.rates if (point[0] - 1) % every == 0]
        points = [(gain / nominal, turn) for _, nominal, gain, turn, _ in even if nominal > 0]
        rho = statistics.rank_correlation([gain for gain, _ in points], [turn for _, turn in points])
        if not math.isnan(rho):
            found.append(rho)
    return sorted(found)[len(found) // 2] if found else math.nan


def _rise(row: Row) -> tuple[str, Values]:
    rise = row.rise
    values: Values = {
        "name": row.name,
        "seeds": rise.seeds,
        "of": rise.of,
        "factor": numbers.factor(rise.factor),
        "step": rise.step,
    }
    return ("folk.measured.rose" if rise.seeds else "folk.measured.never_rose"), values

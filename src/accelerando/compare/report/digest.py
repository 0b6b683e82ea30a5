"""From records to what a report says: one row per strategy, computed once, shown in several ways."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .. import statistics
from ..records import Experiment, Outcome


@dataclass(frozen=True)
class Rise:
    """Whether a strategy raised its gain beyond its nominal rate, over its fresh seeds.

    Attributes:
        seeds: on how many seeds it rose.
        of: how many seeds were measured.
        factor: median of the largest rises; 1 where there was none.
        step: median step of them.
    """

    seeds: int
    of: int
    factor: float
    step: int

    @property
    def shown(self) -> bool:
        """On more than half of the seeds."""
        return self.seeds * 2 > self.of


@dataclass(frozen=True)
class Nominal:
    """The nominal rate over time: its largest rise over an earlier value, and last over first."""

    rise: float
    last: float


@dataclass(frozen=True)
class Row:
    """One strategy, as far as it was run.

    Attributes:
        name: as the experiment writes it.
        about: its summary in the experiment.
        rate: the chosen rate; None where it has none or nothing finished.
        extended: rates added to the grid because the optimum lay at its edge.
        edge: ``low`` or ``high`` where it still does; else empty.
        tuned: rate → final held-out losses on the tuning seeds (``inf`` where diverged), by rising rate.
        curve: rate → centre of those.
        fresh: the outcomes on fresh seeds at the chosen rate, by seed.
        losses: fresh seed → final held-out loss (``inf`` where diverged); seeds with an error are left out.
        errors: outcomes of any phase that ended in an error.
        summary: of `losses`.
        metric: mean of the task's metric over the fresh seeds that finished; NaN where none did.
        versus: against the baseline; None for the baseline itself and where one of them was not run.
        decades: (within 5 %, within a factor 2) of its best loss on the tuning seeds.
        rise: of its gain. nominal: of its nominal rate; None where nothing was measured.
        reached: (fresh seeds that reached the target, median steps of those); None without a target.
        step_seconds: median training time of a step on fresh seeds; NaN where nothing was timed.
    """

    name: str
    about: dict[str, Any]
    rate: float | None
    extended: tuple[float, ...]
    edge: str
    tuned: dict[float, list[float]]
    curve: dict[float, float]
    fresh: tuple[Outcome, ...]
    losses: dict[int, float]
    errors: tuple[Outcome, ...]
    summary: statistics.Summary
    metric: float
    versus: statistics.Comparison | None
    decades: tuple[float, float]
    rise: Rise
    nominal: Nominal | None
    reached: tuple[int, float] | None
    step_seconds: float

    @property
    def ran(self) -> bool:
        """There is a fresh seed to report."""
        return bool(self.losses)

    @property
    def reason(self) -> str:
        """Why there is none."""
        return str(self.about.get("not_run") or "") or (self.errors[0].message if self.errors else "")


@dataclass(frozen=True)
class Digest:
    """Everything a report says about one experiment."""

    experiment: Experiment
    scale: statistics.Scale
    rows: tuple[Row, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def trials(self) -> int:
        """How many trials were run."""
        return len(self.outcomes)

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The rows that ran, lowest loss first; where seeds diverged, fewer of them and the median decide."""
        ran = [row for row in self.rows if row.ran]
        return tuple(sorted(ran, key=lambda r: (r.summary.centre, r.summary.diverged, r.summary.median)))

    def row(self, name: str) -> Row | None:
        """The row of that strategy if it ran."""
        return next((row for row in self.rows if row.name == name and row.ran), None)

    @property
    def baseline(self) -> Row | None:
        """The baseline's row if it ran."""
        return self.row(self.experiment.baseline)


def digest(experiment: Experiment, outcomes: Sequence[Outcome]) -> Digest:
    """Sort, group and judge the outcomes; the order in which they come changes nothing."""
    ordered = sorted(outcomes, key=lambda o: (o.trial.phase, o.trial.rate or 0.0, o.trial.seed, o.trial.id))
    counted = [o for o in ordered if o.status != "not run"]
    scale = statistics.scale_of([loss_of(o) for o in counted if o.status == "done"])
    drafts = [_draft(experiment, about, counted, scale) for about in experiment.strategies]
    base = next((row for row in drafts if row.name == experiment.baseline and row.ran), None)
    others = [row for row in drafts if base is not None and row is not base and row.ran]
    made = statistics.compare([paired(row, base) for row in others if base is not None], scale)
    verdicts = {row.name: comparison for row, comparison in zip(others, made, strict=True)}
    rows = tuple(_judged(row, verdicts.get(row.name)) for row in drafts)
    return Digest(experiment, scale, rows, tuple(counted))


def loss_of(outcome: Outcome) -> float:
    """The final held-out loss; ``inf`` where it diverged or is not finite."""
    loss = outcome.final.get("loss", math.inf) if outcome.status == "done" else math.inf
    return loss if math.isfinite(loss) else math.inf


def paired(row: Row, other: Row) -> tuple[list[float], list[float]]:
    """The losses of both on the fresh seeds they share."""
    seeds = sorted(row.losses.keys() & other.losses.keys())
    return [row.losses[seed] for seed in seeds], [other.losses[seed] for seed in seeds]


def _judged(row: Row, versus: statistics.Comparison | None) -> Row:
    return Row(**{**row.__dict__, "versus": versus})


def _draft(
    experiment: Experiment, about: dict[str, Any], outcomes: Sequence[Outcome], scale: statistics.Scale
) -> Row:
    name, rate = about["name"], experiment.chosen.get(about["name"])
    mine = [o for o in outcomes if o.trial.strategy == name]
    valid = [o for o in mine if o.status != "error"]
    fresh = tuple(o for o in valid if o.trial.phase == "fresh" and o.trial.rate == rate)
    losses = {o.trial.seed: loss_of(o) for o in fresh}
    tuned = _tuned(valid)
    curve = statistics.centres(tuned, scale)
    finished = [o.final.get(experiment.task["metric"], math.nan) for o in fresh if o.status == "done"]
    return Row(
        name=name,
        about=about,
        rate=rate,
        extended=tuple(experiment.edge_extended.get(name, ())),
        edge=experiment.at_edge.get(name, ""),
        tuned=tuned,
        curve=curve,
        fresh=fresh,
        losses=losses,
        errors=tuple(o for o in mine if o.status == "error"),
        summary=statistics.summary([losses[seed] for seed in sorted(losses)], scale),
        metric=math.fsum(finished) / len(finished) if finished else math.nan,
        versus=None,
        decades=(statistics.robustness(curve), statistics.robustness(curve, within=2.0)),
        rise=_rise(fresh),
        nominal=_nominal(fresh),
        reached=_reached(fresh, experiment.task.get("target")),
        step_seconds=median([o.seconds / o.trial.steps for o in fresh if o.status == "done"] or [math.nan]),
    )


def _tuned(outcomes: Sequence[Outcome]) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for outcome in outcomes:
        if outcome.trial.phase == "tune" and outcome.trial.rate is not None:
            found.setdefault(outcome.trial.rate, []).append(loss_of(outcome))
    return dict(sorted(found.items()))


def _rise(fresh: Sequence[Outcome]) -> Rise:
    measured = [o for o in fresh if o.rates]
    rises = [o.rise for o in measured if o.rise is not None]
    factor = median([factor for _, factor in rises] or [1.0])
    return Rise(len(rises), len(measured), factor, round(median([step for step, _ in rises] or [0])))


def _nominal(fresh: Sequence[Outcome]) -> Nominal | None:
    rates = next(([point[1] for point in o.rates if point[1] > 0] for o in fresh if o.rates), [])
    if not rates:
        return None
    lowest, rise = rates[0], 1.0
    for rate in rates:
        lowest = min(lowest, rate)
        rise = max(rise, rate / lowest)
    return Nominal(rise, rates[-1] / rates[0])


def _reached(fresh: Sequence[Outcome], target: float | None) -> tuple[int, float] | None:
    if target is None:
        return None
    steps = [statistics.steps_to(o.evals, target) for o in fresh]
    found = [step for step in steps if step is not None]
    return len(found), median(found or [math.nan])

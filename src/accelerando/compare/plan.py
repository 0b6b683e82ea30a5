"""Which trials an experiment needs next: a pure function of what is known.

For each strategy: every rate of the grid on every tuning seed; while the best rate is the grid's lowest or
highest, one more rate beyond it (at most `EXTENSIONS`); then the chosen rate on every fresh seed. Strategies
do not wait for each other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from accelerando.compare.records import Experiment, Outcome, Phase, Trial

EXTENSIONS = 2
"""How many rates at most are added beyond the grid for one strategy."""

READINGS = 40
"""About how many steps of a fresh trial the lens reads evenly: what a panel of the report can show."""


@dataclass(frozen=True)
class Course:
    """How far one strategy has come.

    Attributes:
        wanted: Every trial known to be needed, those done included.
        rates: The grid with its extensions, ascending.
        chosen: The rate that the tuning seeds chose; None as long as they have not, and where nothing ran.
        at_edge: ``low`` or ``high`` if the chosen rate is at the edge and the grid is not extended further.
    """

    wanted: tuple[Trial, ...]
    rates: tuple[float, ...]
    chosen: float | None = None
    at_edge: str = ""


def course(experiment: Experiment, strategy: Mapping[str, Any], known: Mapping[str, Outcome]) -> Course:
    """What one strategy needs, given the outcomes known by trial id."""
    if strategy["not_run"]:
        return Course((), ())
    if not strategy["rate_name"]:
        return Course(trials(experiment, strategy, [None], "fresh"), ())
    rates = experiment.rates
    if len(rates) == 1:
        return Course(trials(experiment, strategy, rates, "fresh"), rates, rates[0])
    while True:
        tuning = trials(experiment, strategy, rates, "tune")
        if any(trial.id not in known for trial in tuning):
            return Course(tuning, rates)
        outcomes = [known[trial.id] for trial in tuning]
        if all(outcome.status == "error" for outcome in outcomes):
            return Course(tuning, rates)
        best = choose(rates, outcomes)
        longer = _extended(experiment.rates, rates, best, all(o.status != "done" for o in outcomes))
        if longer is None:
            edge = "low" if best == rates[0] else "high" if best == rates[-1] else ""
            return Course(tuning + trials(experiment, strategy, [best], "fresh"), rates, best, edge)
        rates = longer


def choose(rates: Sequence[float], outcomes: Sequence[Outcome]) -> float:
    """The best rate: fewest failed seeds, then the lowest mean final held-out loss, then the lowest rate.

    The mean is geometric where every loss is positive, as in the report's curves; else arithmetic.
    """
    positive = all(outcome.final["loss"] > 0 for outcome in outcomes if outcome.status == "done")

    def merit(rate: float) -> tuple[int, float, float]:
        mine = [outcome for outcome in outcomes if outcome.trial.rate == rate]
        losses = [outcome.final["loss"] for outcome in mine if outcome.status == "done"]
        shown = [math.log(loss) for loss in losses] if positive else losses
        return len(mine) - len(losses), math.fsum(shown) / len(shown) if shown else math.inf, rate

    return min(rates, key=merit)


def settle(experiment: Experiment, courses: Mapping[str, Course]) -> Experiment:
    """The experiment with what its tuning seeds have chosen so far."""
    grid = set(experiment.rates)
    extended = {name: [rate for rate in found.rates if rate not in grid] for name, found in courses.items()}
    return replace(
        experiment,
        chosen={name: found.chosen for name, found in courses.items()},
        edge_extended={name: rates for name, rates in extended.items() if rates},
        at_edge={name: found.at_edge for name, found in courses.items() if found.at_edge},
    )


def interleaved(courses: Mapping[str, Course]) -> list[Trial]:
    """Every wanted trial, one of each strategy in turn, so that a stopped experiment is balanced."""
    rows = zip_longest(*(found.wanted for found in courses.values()))
    return [trial for row in rows for trial in row if trial is not None]


def trials(
    experiment: Experiment, strategy: Mapping[str, Any], rates: Sequence[float | None], phase: Phase
) -> tuple[Trial, ...]:
    """A strategy's trials of a phase, seed by seed.

    A tuning trial answers with its final loss alone, so it is evaluated once and not read by the lens.
    """
    seeds = experiment.tune_seeds if phase == "tune" else experiment.fresh_seeds
    evals, readings = (1, 0) if phase == "tune" else (experiment.evals, READINGS)
    versions = (*experiment.versions, *((str(name), str(version)) for name, version in strategy["versions"]))
    return tuple(
        Trial(
            task=experiment.task["name"],
            task_hash=experiment.task["hash"],
            strategy=strategy["name"],
            rate=rate,
            seed=seed,
            phase=phase,
            steps=experiment.steps,
            device=experiment.device,
            versions=versions,
            evals=evals,
            readings=readings,
        )
        for seed in seeds
        for rate in rates
    )


def _extended(
    grid: Sequence[float], rates: tuple[float, ...], best: float, hopeless: bool
) -> tuple[float, ...] | None:
    """The rates with one more beyond the edge that the best lies on; None without need or room."""
    if len(rates) - len(grid) >= EXTENSIONS:
        return None
    if hopeless or best == rates[0]:
        return (_tidy(rates[0] * grid[0] / grid[1]), *rates)
    if best == rates[-1]:
        return (*rates, _tidy(rates[-1] * grid[-1] / grid[-2]))
    return None


def _tidy(rate: float) -> float:
    """Without the last digits' noise of a multiplication, so that the same rate is the same trial."""
    return float(f"{rate:.9g}")

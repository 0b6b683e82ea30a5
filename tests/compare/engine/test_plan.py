import math

import pytest

from accelerando.compare import plan
from accelerando.compare.records import Experiment, Outcome

GRID = (1e-3, 1e-2, 1e-1)
SGD = {"name": "sgd", "rate_name": "lr", "versions": [], "not_run": ""}


def experiment(**changes):
    settings = {
        "task": {"name": "t", "hash": "h"},
        "strategies": (SGD,),
        "rates": GRID,
        "tune_seeds": (0, 1),
        "fresh_seeds": (1000, 1001, 1002),
        "steps": 10,
        "baseline": "sgd",
        "device": "cpu",
        "versions": (("torch", "2"),),
        "command": "",
    }
    return Experiment(**settings | changes)


def play(result, strategy=SGD, asked=None):
    """Run the plan to its end with ``result(trial)`` → (status, loss)."""
    asked, known = asked or experiment(), {}
    for _ in range(20):
        course = plan.course(asked, strategy, known)
        missing = [trial for trial in course.wanted if trial.id not in known]
        if not missing:
            return course, known
        for trial in missing:
            status, loss = result(trial)
            known[trial.id] = Outcome(trial, status, {"loss": loss} if status == "done" else {})
    raise AssertionError("the plan does not end")


def bowl(best, seeds=None):
    return lambda trial: ("done", abs(math.log10(trial.rate / best)) + (seeds or {}).get(trial.seed, 0))


def test_chooses_on_the_tuning_seeds_and_reports_fresh_ones():
    course, known = play(bowl(1e-2))
    assert course.chosen == 1e-2
    assert not course.at_edge
    fresh = [trial for trial in course.wanted if trial.phase == "fresh"]
    assert [trial.seed for trial in fresh] == [1000, 1001, 1002]
    assert {trial.rate for trial in fresh} == {1e-2}
    assert len(known) == 3 * 2 + 3


@pytest.mark.parametrize(
    ("best", "edge"), [(1.0, ""), (10.0, "high"), (1e5, "high"), (1e-4, ""), (1e-9, "low")]
)
def test_an_optimum_at_the_edge_extends_the_grid_and_is_flagged_where_that_ends(best, edge):
    course, _ = play(bowl(best))
    assert len(course.rates) <= len(GRID) + plan.EXTENSIONS
    assert course.at_edge == edge
    if not edge:
        assert course.chosen == pytest.approx(best)
    settled = plan.settle(experiment(), {"sgd": course})
    assert settled.edge_extended["sgd"] == [rate for rate in course.rates if rate not in GRID]
    assert settled.at_edge == ({"sgd": edge} if edge else {})


def test_one_bad_seed_weighs_as_it_does_in_the_report():
    losses = {1e-3: (2.0, 2.0), 1e-2: (0.1, 5.0), 1e-1: (9.0, 9.0)}  # geometric means 2, 0.7 and 9
    course, _ = play(lambda trial: ("done", losses.get(trial.rate, (9.0, 9.0))[trial.seed % 2]))
    assert course.chosen == 1e-2
    course, _ = play(
        lambda trial: ("done", losses.get(trial.rate, (9.0, 9.0))[trial.seed % 2] - 3)
    )  # no logarithm: -1, -0.45, 6
    assert course.chosen == 1e-3


def test_a_rate_that_diverges_on_one_seed_is_worse_than_any_that_does_not():
    def result(trial):
        if trial.rate == 1e-1 and trial.seed == 1:
            return "diverged", math.nan
        return "done", {1e-1: 0.001, 1e-2: 5.0, 1e-3: 9.0}[trial.rate]

    course, _ = play(result)
    assert course.chosen == 1e-2


def test_what_diverges_everywhere_is_still_reported_at_its_lowest_rate():
    course, _ = play(lambda trial: ("diverged", math.nan))
    assert course.chosen == course.rates[0] < GRID[0]
    assert sum(trial.phase == "fresh" for trial in course.wanted) == 3


def test_what_fails_everywhere_chooses_nothing_and_stops():
    course, known = play(lambda trial: ("error", math.nan))
    assert course.chosen is None
    assert len(known) == 6


def test_a_fixed_rate_has_no_tuning():
    course, known = play(lambda trial: ("done", 1.0), strategy={**SGD, "rate_name": ""})
    assert {trial.rate for trial in course.wanted} == {None}
    assert len(known) == 3


def test_a_grid_of_one_rate_has_no_tuning():
    course, known = play(bowl(1.0), asked=experiment(rates=(1e-2,)))
    assert course.chosen == 1e-2
    assert len(known) == 3


def test_what_cannot_run_wants_nothing():
    assert plan.course(experiment(), {**SGD, "not_run": "missing"}, {}).wanted == ()


def test_strategies_take_turns():
    asked = experiment(strategies=(SGD, {**SGD, "name": "adam"}))
    courses = {s["name"]: plan.course(asked, s, {}) for s in asked.strategies}
    order = plan.interleaved(courses)
    assert [trial.strategy for trial in order[:4]] == ["sgd", "adam", "sgd", "adam"]


def test_identity_covers_all_that_a_result_depends_on():
    base = experiment()
    ids = {plan.trials(base, SGD, [1e-3], "fresh")[0].id}
    for change in (
        {"task": {"name": "t", "hash": "other"}},
        {"task": {"name": "u", "hash": "h"}},
        {"steps": 11},
        {"device": "cuda"},
        {"evals": 5},
        {"versions": (("torch", "3"),)},
    ):
        ids.add(plan.trials(experiment(**change), SGD, [1e-3], "fresh")[0].id)
    ids.add(plan.trials(base, {**SGD, "versions": [["timm", "1"]]}, [1e-3], "fresh")[0].id)
    ids.add(plan.trials(base, {**SGD, "name": "adam"}, [1e-3], "fresh")[0].id)
    ids.add(plan.trials(base, SGD, [1e-2], "fresh")[0].id)
    ids.add(plan.trials(base, SGD, [1e-3], "tune")[0].id)
    assert len(ids) == 11


def test_a_tuning_trial_does_only_what_its_use_needs():
    tune, fresh = (plan.trials(experiment(evals=7), SGD, [1e-3], phase)[0] for phase in ("tune", "fresh"))
    assert (tune.evals, tune.readings) == (1, 0)
    assert (fresh.evals, fresh.readings) == (7, plan.READINGS)

"""Performance profiles over several comparisons, from records to files."""

import math
from dataclasses import replace

import pytest

from accelerando.compare.report.across import costs_of, target_of, write_profiles
from accelerando.compare.report.digest import digest
from accelerando.errors import TaskError


def renamed(comparison, name, target):
    experiment, outcomes = comparison
    asked = replace(experiment, task={**experiment.task, "name": name, "target": target})
    return asked, [replace(o, trial=replace(o.trial, task=name)) for o in outcomes]


def test_costs_are_median_steps_to_the_target(comparison):
    made = digest(*renamed(comparison, "digits", 1.0))
    costs = costs_of(made)
    adam = made.row("adam")
    steps = sorted(
        next((step for step, metrics in o.evals if metrics["loss"] <= 1.0), math.inf) for o in adam.fresh
    )
    assert costs["adam"] == (steps[4] + steps[5]) / 2
    assert costs.keys() == {row.name for row in made.ranked}


def test_without_a_target_the_baselines_end_is_one(comparison):
    made = digest(*renamed(comparison, "digits", None))
    assert target_of(made) == made.baseline.summary.median
    assert math.isfinite(costs_of(made)["adam"])
    nobody = digest(*renamed(comparison, "digits", -1.0))
    assert set(costs_of(nobody).values()) == {math.inf}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_profiles_are_written_and_repeat(comparison, tmp_path, lang):
    both = [renamed(comparison, "easy", 1.5), renamed(comparison, "hard|er", 0.6)]
    first = write_profiles(both, tmp_path / "one", lang)
    second = write_profiles(both, tmp_path / "two", lang)
    assert [path.name for path in first] == ["profiles.md", "profiles.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    text = first[0].read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == 1 + 6 and "hard\\|er" in text


def test_one_task_is_not_enough(comparison, tmp_path):
    with pytest.raises(TaskError, match="two or more different tasks"):
        write_profiles([renamed(comparison, "same", 1.0)] * 2, tmp_path)


def test_no_common_strategy_is_said(comparison, tmp_path):
    experiment, outcomes = renamed(comparison, "other", 2.25)
    only = {"adam", "sgd"}
    kept = [s for s in experiment.strategies if s["name"] in only]
    rest = [s for s in experiment.strategies if s["name"] not in only]
    first = (replace(experiment, strategies=tuple(kept)), outcomes)
    second = renamed(
        (replace(experiment, strategies=tuple(rest), baseline="radam"), outcomes), "another", None
    )
    with pytest.raises(TaskError, match="no strategy has a result on every task"):
        write_profiles([first, second], tmp_path)

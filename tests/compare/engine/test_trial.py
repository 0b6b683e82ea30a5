import math
import re

import pytest
import torch

from accelerando.compare.pace import evenly, spacing
from accelerando.compare.records import Trial
from accelerando.compare.resolve import resolve
from accelerando.compare.trial import run


def trained(path, **changes):
    resolved = resolve(str(path))
    settings = {"strategy": "sgd", "rate": 1e-3, "seed": 0, "phase": "fresh", "device": "cpu", "versions": ()}
    settings |= {
        "task": resolved.task.name,
        "task_hash": resolved.hash,
        "steps": resolved.task.steps,
        "evals": 4,
    }
    return run(Trial(**settings | changes), resolved)


def forty_steps(task, model, optimizer, batches):
    """The loop that anyone would write; the losses before each step."""
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = task.loss(model, next(batches))
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return losses


def test_a_run_is_the_plain_loop(bowl):
    outcome = trained(bowl)
    task = resolve(str(bowl)).task
    torch.manual_seed(0)
    model, batches = task.model(), task.batches(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = forty_steps(task, model, optimizer, batches)
    assert outcome.status == "done"
    assert [loss for _, loss in outcome.losses] == losses
    with torch.no_grad():
        assert outcome.final == task.evaluate(model)
    assert [step for step, _ in outcome.evals] == [0, 10, 20, 30, 40]
    assert outcome.evals[-1][1] == outcome.final
    assert outcome.seconds > 0


def test_the_lens_reads_sgds_rate(bowl):
    for _, nominal, gain, alignment, effective in trained(bowl).rates:
        assert nominal == 1e-3
        assert (gain, alignment, effective) == pytest.approx((1e-3, 1.0, 1e-3), rel=1e-4)


def test_what_a_trial_measures_changes_nothing_in_it(bowl):
    plain, read = trained(bowl, phase="tune", evals=1, readings=0), trained(bowl, readings=20)
    assert plain.rates == () and plain.rise is None
    assert [step for step, *_ in read.rates] == [*range(1, 32), 33, 35, 37, 39]
    assert [step for step, _ in plain.evals] == [0, 40]
    assert (plain.final, plain.losses) == (read.final, read.losses)


def test_a_cycle_is_the_schedules_rise_and_not_sgds_own(bowl):
    assert trained(bowl, strategy="sgd+cyclic", steps=200).rise is None


def test_a_rate_that_the_optimizer_raises_is_its_own_rise(bowl, monkeypatch):
    class Raising(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                group["lr"] = min(group["lr"] * 1.05, 1e-3)

    monkeypatch.setattr(torch.optim, "Raising", Raising, raising=False)
    step, factor = trained(bowl, strategy="torch.optim:Raising", steps=200, rate=1e-5).rise
    assert step < 200
    assert factor > 10


def hidden(monkeypatch, name, rate_at):
    """SGD whose group says ``lr`` all along, while the rate that it uses is a function of the step."""

    class Hidden(torch.optim.SGD):
        made = 0

        def step(self, closure=None):
            self.made += 1
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p -= rate_at(self.made) * p.grad

    monkeypatch.setattr(torch.optim, name, Hidden, raising=False)
    return f"torch.optim:{name}"


@pytest.mark.parametrize("steps", [200, 600])
@pytest.mark.parametrize("start", [1e-6, 1e-4])
def test_a_rise_that_is_over_early_and_falls_again_is_one(bowl, monkeypatch, start, steps):
    name = hidden(monkeypatch, "Climbs", lambda step: min(start * 1.3**step, 2e-3) * (1 - step / (steps + 1)))
    step, factor = trained(bowl, strategy=name, steps=steps).rise
    end = math.log(2e-3 / start) / math.log(1.3)
    assert step <= end + 1
    assert 4 < factor < 2e-3 / start  # a lower bound


def test_a_rise_late_in_the_run_is_one(bowl, monkeypatch):
    name = hidden(monkeypatch, "Late", lambda step: 1e-4 if step < 300 else 1e-3)
    step, factor = trained(bowl, strategy=name, steps=400).rise
    assert step == pytest.approx(300, abs=16)
    assert 5 < factor <= 10.5  # as much taken off as the gradient fell by


def test_a_rate_that_only_falls_is_no_rise(bowl, monkeypatch):
    name = hidden(monkeypatch, "Falls", lambda step: 1e-3 / step)
    assert trained(bowl, strategy=name, steps=400).rise is None


@pytest.mark.parametrize("strategy", ["sgd", "adam", "adamw", "adam+cosine", "adamw+cyclic", "adam+plateau"])
def test_a_method_at_the_rate_it_was_given_raises_none(bowl, strategy):
    assert trained(bowl, strategy=strategy, rate=1e-2, steps=400).rise is None


@pytest.mark.parametrize("strategy", ["accelerando", "prodigy", "dadaptadam"])
def test_methods_that_find_their_rate_raise_it(bowl, strategy):
    assert trained(bowl, strategy=strategy, rate=1e-6, steps=400).rise[1] > 3


def test_even_readings_are_among_those_taken():
    for steps, readings in ((40, 20), (400, 40), (601, 40), (10_000, 40), (7, 40)):
        every = evenly(steps, readings)
        taken = [step for step in range(1, steps + 1) if (step - 1) % spacing(step, every) == 0]
        assert {step for step in range(1, steps + 1) if (step - 1) % every == 0} <= set(taken)
        assert taken[:31] == list(range(1, min(31, steps) + 1))


def test_strategies_share_weights_and_batches_at_a_seed(bowl):
    first, second = trained(bowl), trained(bowl, strategy="torch.optim:Adam+cosine")
    assert first.evals[0] == second.evals[0]
    assert first.losses[0] == second.losses[0]
    assert first.evals[0] != trained(bowl, seed=1).evals[0]


def test_evaluation_leaves_the_random_state_alone(written):
    dice = written(
        ("def loss(model, batch):", "def loss(model, batch):\n    batch = (batch[0] + torch.randn(10),)"),
        ("def evaluate(model):", "def evaluate(model):\n    torch.randn(3)"),
    )
    assert trained(dice, evals=2).losses == trained(dice, evals=20).losses


def test_evaluates_in_eval_mode_without_gradients_and_trains_in_train_mode(written):
    path = written(
        (
            "def evaluate(model):",
            "def evaluate(model):\n    assert not model.training and not torch.is_grad_enabled()",
        ),
        ("def loss(model, batch):", "def loss(model, batch):\n    assert model.training"),
    )
    assert trained(path).status == "done"


def test_an_averaging_optimizer_is_evaluated_in_eval_mode(bowl, monkeypatch):
    class Averaging(torch.optim.SGD):
        calls = []

        def train(self):
            self.calls.append("train")

        def eval(self):
            self.calls.append("eval")

    monkeypatch.setattr(torch.optim, "Averaging", Averaging, raising=False)
    trained(bowl, strategy="torch.optim:Averaging")
    assert Averaging.calls == ["eval", "train"] * 5


def test_schedule_free_is_evaluated_at_its_average_and_trained_at_its_own_point(bowl):
    schedulefree = pytest.importorskip("schedulefree")
    outcome = trained(bowl, strategy="schedulefree:SGDScheduleFree", rate=1e-3)
    task = resolve(str(bowl)).task
    torch.manual_seed(0)
    model, batches = task.model(), task.batches(0)
    optimizer = schedulefree.SGDScheduleFree(model.parameters(), lr=1e-3)
    optimizer.train()
    losses = forty_steps(task, model, optimizer, batches)
    with torch.no_grad():
        at_its_point = task.evaluate(model)["loss"]
        optimizer.eval()
        at_its_average = task.evaluate(model)["loss"]
    assert at_its_average != at_its_point
    assert outcome.final["loss"] == pytest.approx(at_its_average, rel=1e-5)
    assert [loss for _, loss in outcome.losses] == pytest.approx(losses, rel=1e-4)


def test_divergence_is_an_outcome_with_its_step(bowl):
    outcome = trained(bowl, rate=1e4)
    assert outcome.status == "diverged"
    assert 1 < outcome.losses[-1][0] < 40
    assert not math.isfinite(outcome.losses[-1][1])
    assert f"at update {outcome.losses[-1][0]}" in outcome.message


LOSS = "    return (SCALES * (model.place - batch[0]).square()).sum()"
EVALUATE = '    return {"loss": float((SCALES * model.place.square()).sum())}'


@pytest.mark.parametrize(
    ("old", "new", "message", "place"),
    [
        (LOSS, "    return (torch.ones(3) * model.place).sum()", "size of tensor a", "in loss"),
        (LOSS, "    return model.place - batch[0]", r"must return one number.*\(10,\); take its mean", ""),
        (LOSS, "    return 1.0", "must return one number as a tensor, got float", ""),
        (LOSS, "    return model.place.detach().sum()", "does not depend on the model's parameters", ""),
        (
            LOSS,
            "    return (model.place * float('nan')).sum()",
            "nan on the first batch.*no strategy is to blame",
            "",
        ),
        (LOSS, "    raise SystemExit(4)", "SystemExit: 4", "in loss"),
        (EVALUATE, "    return 3.0", "must return a mapping with 'loss'.*got float", ""),
        (EVALUATE, "    return {'accuracy': 1.0}", r"must return a mapping with 'loss'.*\['accuracy'\]", ""),
        (EVALUATE, "    return {'loss': torch.ones(3)}", "must return numbers", ""),
        (
            EVALUATE,
            "    return {'loss': float('nan')}",
            "before the first update, so no strategy is to blame",
            "",
        ),
        (EVALUATE, "    return {'loss': 1 / 0}", "ZeroDivisionError", "in evaluate"),
        (
            "    while True:",
            "    for _ in range(7):",
            r"ended after 7 of 40 updates; make it endless.*--steps 7",
            "",
        ),
        ("    while True:", "    for _ in range(0):", "ended after 0 of 40 updates", ""),
        ("torch.nn.Parameter(torch.randn(10))", "torch.randn(10)", "no parameters to train", ""),
        ('Task("bowl", Bowl,', 'Task("bowl", lambda: 3,', "must return a torch.nn.Module, got int", ""),
    ],
)
def test_a_broken_task_says_what_and_where(written, old, new, message, place):
    path = written((old, new))
    outcome = trained(path)
    assert outcome.status == "error"
    assert re.search(message, outcome.message), outcome.message
    assert outcome.place.endswith(place)
    if place:
        assert outcome.place.startswith(f"{path.name}:")
    assert "Traceback" in outcome.traceback


def test_a_task_of_what_cannot_be_pickled_runs(written):
    path = written(
        ("def task():", "LOCK = __import__('threading').Lock()\n\n\ndef task():"),
        (
            'Task("bowl", Bowl, batches, loss,',
            'Task("bowl", lambda: Bowl(), batches, lambda m, b: (LOCK, loss(m, b))[1],',
        ),
    )
    assert trained(path).status == "done"

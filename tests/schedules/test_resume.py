"""Every scheduler × every order of building and loading → the same trajectory, bit for bit."""

import copy
import io
import itertools
import pickle

import numpy as np
import pytest
import torch

from accelerando import schedules as s

BEFORE, AFTER = 57, 60


def metric(t):
    return 2.0 * 0.98**t + 0.02 * np.sin(7.0 * t)


def pair(optimizer):
    """Two schedulers side by side, each saved for itself."""
    return [s.LinearLR(optimizer, 0.0, total_iters=80), s.CosineAnnealingWarmRestarts(optimizer, 20)]


def trio(optimizer):
    return [
        s.CyclicLR(optimizer, 0.0, 0.1, 10, cycle_momentum=True),
        s.ScheduledLR(optimizer, s.warmup(80)),
        s.ReduceLROnPlateau(optimizer, patience=3, factor=0.5),
    ]


def chained(optimizer):
    parts = [s.LinearLR(optimizer, 0.1), s.OneCycleLR(optimizer, 0.2, 200),
             s.ReduceLROnPlateau(optimizer, patience=2, factor=0.7)]  # fmt: skip
    return [s.ChainedScheduler(parts)]


def sequential(optimizer):
    parts = [s.LinearLR(optimizer, 0.1, total_iters=40), s.CosineAnnealingLR(optimizer, 60, eta_min=0.001),
             s.CyclicLR(optimizer, 0.01, 0.03, 5, cycle_momentum=False)]  # fmt: skip
    return [s.SequentialLR(optimizer, parts, [40, 80])]


def cooled(optimizer):
    return [s.WSD(optimizer, 10)]


BUILDS = {
    "ConstantLR": lambda o: [s.ConstantLR(o, 0.3, 70)],
    "LinearLR": lambda o: [s.LinearLR(o, 0.01, total_iters=100)],
    "PolynomialLR": lambda o: [s.PolynomialLR(o, 100, 2.0)],
    "ExponentialLR": lambda o: [s.ExponentialLR(o, 0.97)],
    "StepLR": lambda o: [s.StepLR(o, 9, 0.7)],
    "MultiStepLR": lambda o: [s.MultiStepLR(o, [30, 57, 58, 80], 0.5)],
    "CosineAnnealingLR": lambda o: [s.CosineAnnealingLR(o, 80, 0.001)],
    "CosineAnnealingWarmRestarts": lambda o: [s.CosineAnnealingWarmRestarts(o, 7, 2)],
    "CyclicLR": lambda o: [s.CyclicLR(o, 0.01, 0.1, 9, cycle_momentum=True, mode="triangular2")],
    "OneCycleLR": lambda o: [s.OneCycleLR(o, 0.1, total_steps=200)],
    "LambdaLR": lambda o: [s.LambdaLR(o, lambda t: 0.98**t)],
    "WSD": cooled,
    "ScheduledLR": lambda o: [s.ScheduledLR(o, s.warmup(20) >> s.cosine(30).repeat())],
    "ReduceLROnPlateau": lambda o: [s.ReduceLROnPlateau(o, patience=2, factor=0.7, every=2)],
    "RaiseOnProgress": lambda o: [s.RaiseOnProgress(o, window=8)],
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "two at once": pair,
    "three at once": trio,
}

ORDERS = {
    "optimizer, scheduler, load both": ["build", "load optimizer", "load schedulers"],
    "load the optimizer first": ["load optimizer", "build", "load schedulers"],
    "load the scheduler first": ["build", "load schedulers", "load optimizer"],
}
KINDS = {
    "float": lambda ps: torch.optim.AdamW(ps, lr=0.1, betas=(0.95, 0.99)),
    "tensor": lambda ps: torch.optim.AdamW(ps, lr=torch.tensor(0.1), betas=(0.95, 0.99), foreach=False),
    "momentum": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.7),
}


class Training:
    def __init__(self, kind):
        torch.manual_seed(0)
        self.weights = [torch.nn.Parameter(torch.randn(3)), torch.nn.Parameter(torch.randn(2))]
        self.optimizer = KINDS[kind]([{"params": [w]} for w in self.weights])
        self.schedulers = []

    def train(self, first, count):
        seen = []
        for t in range(first, first + count):
            if t == 30:
                self.optimizer.param_groups[0]["lr"] *= 0.5  # a hand at the rate
            for w in self.weights:
                w.grad = torch.cos(w.detach() * (t + 1))
            self.optimizer.step()
            for scheduler in self.schedulers:
                listens = isinstance(scheduler, (s.ReduceLROnPlateau, s.RaiseOnProgress, s.ChainedScheduler))
                scheduler.step(metric(t)) if listens else scheduler.step()
            if t == 20 and isinstance(self.schedulers[0], s.WSD):
                self.schedulers[0].cool_down(60)
            seen.append([*torch.cat(self.weights).tolist(),
                         *(float(g["lr"]) for g in self.optimizer.param_groups),
                         *(g["betas"][0] if "betas" in g else g["momentum"]
                           for g in self.optimizer.param_groups)])  # fmt: skip
        return np.array(seen)


def saved(*states):
    """Through a file, loaded without trusting it."""
    file = io.BytesIO()
    torch.save(states, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(("build", "order"), list(itertools.product(BUILDS, ORDERS)))
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_trajectory(build, order, kind):
    first = Training(kind)
    first.schedulers = BUILDS[build](first.optimizer)
    first.train(0, BEFORE)
    state, *rest = saved(first.optimizer.state_dict(), *(one.state_dict() for one in first.schedulers))
    second = Training(kind)
    for act in ORDERS[order]:
        if act == "build":
            second.schedulers = BUILDS[build](second.optimizer)
        elif act == "load optimizer":
            second.optimizer.load_state_dict(state)
        else:
            for one, part in zip(second.schedulers, rest, strict=True):
                one.load_state_dict(part)
    with torch.no_grad():
        for ours, theirs in zip(second.weights, first.weights, strict=True):
            ours.copy_(theirs)
    np.testing.assert_array_equal(second.train(BEFORE, AFTER), first.train(BEFORE, AFTER))


@pytest.mark.parametrize("build", [name for name in BUILDS if name != "LambdaLR"])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_continue_alike_and_apart(build, way):
    first = Training("float")
    first.schedulers = BUILDS[build](first.optimizer)
    first.train(0, BEFORE)
    second = way(first)
    np.testing.assert_array_equal(second.train(BEFORE, AFTER), first.train(BEFORE, AFTER))


@pytest.mark.parametrize("build", BUILDS)
def test_a_state_is_plain_and_loading_leaves_it_alone(build):
    one = Training("float")
    one.schedulers = BUILDS[build](one.optimizer)
    one.train(0, 40)
    for scheduler in one.schedulers:
        state = scheduler.state_dict()
        before = copy.deepcopy(state)
        scheduler.load_state_dict(state)
        one.train(40, 5)
        assert state == before


def test_a_step_between_saving_and_stepping_is_not_lost(run):
    one = run()
    scheduler = s.ExponentialLR(one.optimizer, 0.5)
    one.optimizer.step()
    state = scheduler.state_dict()
    other = run()
    again = s.ExponentialLR(other.optimizer, 0.5)
    again.load_state_dict(state)
    again.step()
    assert again.last_epoch == 1


def test_resuming_by_last_epoch(run):
    one = run()
    scheduler = s.CosineAnnealingLR(one.optimizer, 50)
    one.follow(scheduler, 20)
    other = run()
    other.optimizer.load_state_dict(one.optimizer.state_dict())
    again = s.CosineAnnealingLR(other.optimizer, 50, last_epoch=scheduler.last_epoch - 1)
    assert other.follow(again, 20) == one.follow(scheduler, 20)


def test_a_changed_schedule_is_said_and_can_be_followed(run):
    one = run()
    short = s.CosineAnnealingLR(one.optimizer, 50)
    one.follow(short, 20)
    other = run()
    longer = s.CosineAnnealingLR(other.optimizer, 100)
    with pytest.warns(
        UserWarning, match=r"the saved schedule cosine\(steps=50\) replaces cosine\(steps=100\)"
    ):
        longer.load_state_dict(short.state_dict())
    assert other.lr == one.lr
    longer.replace(s.cosine(100))
    assert other.lr == pytest.approx(0.1 * s.cosine(100)(20))


def test_a_foreign_state_is_refused(run):
    state = s.StepLR(run().optimizer, 3).state_dict()
    with pytest.raises(
        RuntimeError, match=r"CosineAnnealingLR: the state must be a CosineAnnealingLR's.*'StepLR'"
    ):
        s.CosineAnnealingLR(run().optimizer, 3).load_state_dict(state)

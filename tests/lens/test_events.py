"""Each event on a minimal reproduction; silence on healthy runs of the bundled tasks is at the end."""

import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import accelerando
from accelerando.compare import tasks
from accelerando.lens import Lens
from accelerando.lens.codes import CODES


def weights(*values, dtype=torch.float64):
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def run(optimizer, steps, gradient, scheduler=None, every=1):
    with Lens(optimizer, every=every) as lens:
        for t in range(1, steps + 1):
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = gradient(t, p)
            optimizer.step()
            if scheduler:
                scheduler.step()
    return lens


def found(lens, code):
    return [e for e in lens.events() if e.code == code]


def noisy(t, p):
    return torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(t))


def test_lr101_the_second_moment_forgets_a_large_gradient():
    p = weights(*[0.0] * 50)
    adam = torch.optim.Adam([p], lr=1e-3, betas=(0.9, 0.9))
    lens = run(adam, 120, lambda t, p: noisy(t, p) * (100 if t == 30 else 1))
    (event,) = found(lens, "LR101")
    assert event.group == 0 and event.factor > 2 and "second moment" in event.cause
    (rise,) = lens.rose()
    assert rise.nominal == 1 and rise.cause == "second moment" and 30 < rise.step < 120


def test_lr101_not_when_the_schedule_did_it():
    sgd = torch.optim.SGD([weights(1.0, 2.0)], lr=1.0)
    warm = lr_scheduler.LinearLR(sgd, 0.01, 1.0, 50)
    lens = run(sgd, 100, noisy, warm)
    assert not lens.events()
    (rise,) = lens.rose()
    assert rise.cause == "schedule" and rise.nominal == pytest.approx(rise.factor, rel=0.2)


@pytest.mark.parametrize("every", [1, 5])
def test_lr102_cosine_past_its_end(every):
    sgd = torch.optim.SGD([weights(1.0)], lr=0.1)
    lens = run(sgd, 160, noisy, lr_scheduler.CosineAnnealingLR(sgd, 100), every)
    (event,) = found(lens, "LR102")
    assert "step 101" in event.cause and 100 < event.step <= 125


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, 160),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 50),
        lambda o: lr_scheduler.CyclicLR(o, 1e-4, 0.1, 25, cycle_momentum=False),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, 160, cycle_momentum=False),
        lambda o: lr_scheduler.LinearLR(o, 0.01, 1.0, 40),
        lambda o: lr_scheduler.StepLR(o, 30, 0.1),
        lambda o: lr_scheduler.ExponentialLR(o, 0.95),
    ],
)
def test_lr102_silent_on_other_schedules(schedule):
    sgd = torch.optim.SGD([weights(1.0)], lr=0.1)
    assert not found(run(sgd, 160, noisy, schedule(sgd)), "LR102")


def test_lr103_beta1_overwritten_by_a_cycle():
    adam = torch.optim.Adam([weights(1.0)], lr=1e-3, betas=(0.95, 0.999))
    lens = run(adam, 40, noisy, lr_scheduler.OneCycleLR(adam, 1e-2, 60))
    (event,) = found(lens, "LR103")
    assert event.cause.startswith("betas[0] was 0.95") and event.factor < 1
    sgd = torch.optim.SGD([weights(1.0)], lr=1e-3, momentum=0.7)
    lens = run(sgd, 40, noisy, lr_scheduler.CyclicLR(sgd, 1e-4, 1e-2, 10))
    assert [e.cause.split()[0] for e in found(lens, "LR103")] == ["momentum"]


class Distance(torch.optim.Optimizer):
    """Steps by lr·d, with d never growing."""

    def __init__(self, params, d0):
        super().__init__(params, {"lr": 1.0, "d": d0, "d0": d0})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(group["lr"] * group["d"] * p.grad)


@pytest.mark.parametrize(
    ("dtype", "why"), [(torch.bfloat16, "rounds away"), (torch.float64, "do not correlate")]
)
def test_lr104_d_does_not_start(dtype, why):
    lens = run(Distance([weights(1.0, 2.0, dtype=dtype)], 1e-6), 60, noisy)
    (event,) = found(lens, "LR104")
    assert event.step == 50 and why in event.cause


def test_lr105_tensors_that_do_not_move():
    used, unused, dead = weights(1.0), weights(1.0), weights(1.0)
    lost = weights(1.0, dtype=torch.bfloat16)
    sgd = torch.optim.SGD([used, unused, dead, lost], lr=1e-4)

    def gradient(t, p):
        if p is unused:
            return None
        return torch.zeros_like(p) if p is dead else torch.ones_like(p)

    events = found(run(sgd, 20, gradient), "LR105")
    assert {e.tensor: e.cause for e in events} == {
        "group0[1] 1": "it has no gradient",
        "group0[2] 1": "its gradient is exactly zero",
        "group0[3] 1": "its step rounds away in bfloat16",
    }


class Uncorrected(torch.optim.Optimizer):
    """A second moment that starts at zero and is not corrected: 31 times too long a first step."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
                p.data.addcdiv_(p.grad, v.sqrt().add(1e-12), value=-group["lr"])


def test_lr106_first_step_peak():
    p = weights(*[0.0] * 20)
    lens = run(Uncorrected([p], {"lr": 1e-3}), 120, noisy)
    (event,) = found(lens, "LR106")
    assert event.factor > 5 and event.tensor is None
    for ordinary in (torch.optim.Adam, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax):
        assert not found(run(ordinary([weights(*[0.0] * 20)], lr=1e-3), 120, noisy), "LR106")


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
def test_lr107_decay_larger_than_the_step(make):
    p = weights(*[5.0] * 20)
    lens = run(make([p], lr=0.01, weight_decay=2.0), 20, lambda t, p: noisy(t, p) * 0.1)
    (event,) = found(lens, "LR107")
    assert event.step == 5 and event.factor > 1
    assert not run(make([weights(*[5.0] * 20)], lr=0.01, weight_decay=0.01), 60, noisy).events()


def test_lr108_another_rate_than_the_group_asks():
    p = weights(1.0, 2.0)
    adam = torch.optim.Adam([p], lr=1e-3)

    def halve(optimizer, args, kwargs):
        p.data.copy_((p.data + before[0]) / 2)

    before = []
    adam.register_step_pre_hook(lambda *_: before.__setitem__(slice(None), [p.detach().clone()]))
    adam.register_step_post_hook(halve)
    (event,) = found(run(adam, 20, noisy), "LR108")
    assert event.factor == pytest.approx(0.5, rel=1e-6)


def test_lr109_gradient_not_finite():
    p = weights(1.0, 2.0)
    sgd = torch.optim.SGD([p], lr=0.1)

    def gradient(t, p):
        g = torch.ones_like(p)
        g[0] = math.inf if t >= 3 else 1.0
        return g

    (event,) = found(run(sgd, 6, gradient), "LR109")
    assert (event.step, event.cause) == (3, "1 of 2 elements")


def test_every_code_has_a_reproduction_above():
    here = [name for name in globals() if name.startswith("test_lr")]
    assert all(any(name.startswith(f"test_{code.lower()}_") for name in here) for code in CODES)


STEPS = {"text": 60}
RATES = {torch.optim.AdamW: 1e-3, torch.optim.SGD: 1e-2}


def healthy(task, make, steps, every=2, **options):
    torch.manual_seed(0)
    model = task.model()
    optimizer = make(model.parameters(), **options)
    with Lens(optimizer, model=model, every=every) as lens:
        for _, batch in zip(range(steps), task.batches(0), strict=False):
            optimizer.zero_grad()
            task.loss(model, batch).backward()
            optimizer.step()
    return lens


@pytest.mark.parametrize("task", tasks.names())
@pytest.mark.parametrize("make", RATES)
def test_silent_on_a_healthy_run_of_every_bundled_task(task, make):
    task = tasks.load(task)
    steps = STEPS.get(task.name, 200)
    lens = healthy(task, make, steps, lr=RATES[make])
    assert len(lens.table("optimizer")) == steps // 2
    assert not lens.events()


OURS = {"Adam": 1e-3, "AdamW": 1e-3, "AdaBelief": 1e-3, "LAMB": 1e-2, "RAdam": 1e-3, "Accelerando": 1e-6}
BY_ITSELF = {"RAdam": ("rectification", "second moment"), "Accelerando": ("probe", "rise")}
"""The methods that are meant to raise their rate, and what LR101 has to name as its cause: RAdam begins to divide by
its second moment at the sixth step."""


@pytest.mark.parametrize("task", tasks.names())
def test_our_methods_say_of_every_bundled_task_only_that_they_rose_if_they_are_meant_to(task):
    task = tasks.load(task)
    for name, lr in OURS.items():
        steps = 24 if task.name == "text" else 60
        options = {"total_steps": steps} if name == "Accelerando" else {}
        lens = healthy(task, getattr(accelerando, name), steps, every=1, lr=lr, **options)
        for event in lens.events():
            assert event.code == "LR101" and name in BY_ITSELF, f"{name}: {event}"
            assert any(cause in event.cause for cause in BY_ITSELF[name]), f"{name}: {event}"


def test_lr101_accelerando_raises_its_rate_by_itself():
    p = weights(*[[1.0, -2.0, 0.5]] * 20, dtype=torch.float32)
    optimizer = accelerando.Accelerando([p], total_steps=100)
    lens = run(optimizer, 100, lambda t, p: p.detach() - 3)
    event = found(lens, "LR101")[0]
    assert "the method's own rise" in event.cause and "agreement" in event.cause
    assert event.cause.startswith(("cause: probe", "cause: rise"))
    assert lens.rose()[0].cause in ("probe", "rise") and lens.rose()[0].nominal == 1


def test_lr101_radam_raises_its_rate_by_itself():
    radam = accelerando.RAdam([weights(*[0.0] * 20)], lr=1e-3)
    events = found(run(radam, 60, noisy), "LR101")
    assert events and all("rectification" in e.cause for e in events)

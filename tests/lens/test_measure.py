import copy
import math

import pytest
import torch
from torch import nn

from accelerando.errors import HyperparameterError, UnsupportedTensorError
from accelerando.lens import measure


def parameter(*values, dtype=torch.float64):
    p = nn.Parameter(torch.tensor(values, dtype=dtype))
    p.grad = torch.ones_like(p)
    return p


def test_sgd_is_what_it_says():
    p = parameter(1.0, 2.0, 3.0)
    p.grad = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    sgd = torch.optim.SGD([p], lr=0.1)
    with measure(sgd) as measured:
        sgd.step()
    (r,) = measured.readings
    assert (r.step, r.nominal) == (1, 0.1)
    assert r.gain == pytest.approx(0.1, rel=1e-12)
    assert r.alignment == pytest.approx(1.0, rel=1e-12)
    assert r.effective == pytest.approx(0.1, rel=1e-12)
    assert r.grad_norm == pytest.approx(5.0)
    assert r.displacement_norm == pytest.approx(0.5)


def test_adam_first_step_in_closed_form():
    p = parameter(0.0, 0.0)
    p.grad = torch.tensor([3.0, -4.0], dtype=torch.float64)
    adam = torch.optim.Adam([p], lr=0.1, eps=0.0)
    with measure(adam) as measured:
        adam.step()
    (r,) = measured.readings
    assert r.gain == pytest.approx(0.1 * math.sqrt(2) / 5, rel=1e-6)
    assert r.alignment == pytest.approx(7 / (5 * math.sqrt(2)), rel=1e-6)
    assert r.effective == pytest.approx(r.gain * r.alignment, rel=1e-12)


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam])
def test_decoupled_decay_is_taken_out(make):
    gains = []
    for decay in (0.0, 0.5):
        p = parameter(1.0, -2.0, 3.0)
        extra = {} if make is torch.optim.AdamW else {"decoupled_weight_decay": True}
        optimizer = make([p], lr=0.1, weight_decay=decay, **extra)
        with measure(optimizer) as measured:
            optimizer.step()
        gains.append(measured.readings[0].gain)
    assert gains[0] == pytest.approx(gains[1], rel=1e-9)


def test_every_keeps_the_first_and_counts_all():
    p = parameter(1.0)
    sgd = torch.optim.SGD([p], lr=0.1)
    with measure(sgd, every=3) as measured:
        for _ in range(8):
            sgd.step()
    assert [r.step for r in measured.readings] == [1, 4, 7]


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_every_must_count(every):
    with pytest.raises(HyperparameterError, match="every must be"):
        measure(torch.optim.SGD([parameter(1.0)]), every=every)


def test_gradients_made_by_the_closure_are_the_ones_read():
    p = parameter(1.0)
    p.grad = torch.tensor([100.0], dtype=torch.float64)
    sgd = torch.optim.SGD([p], lr=0.1)

    def closure():
        sgd.zero_grad()
        loss = (2 * p).sum()
        loss.backward()
        return loss

    with measure(sgd) as measured:
        sgd.step(closure)
        sgd.step(closure=closure)
    assert [r.grad_norm for r in measured.readings] == [2.0, 2.0]
    assert [r.gain for r in measured.readings] == pytest.approx([0.1, 0.1])


class ClipsInPlace(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        return super().step(closure)


def test_a_gradient_the_step_overwrites_is_read_as_it_was_given():
    p = parameter(0.0, 0.0)
    sgd = ClipsInPlace([p], lr=1.0)
    with measure(sgd) as measured:
        for size in (3.0, 30.0):
            p.grad = torch.tensor([size, 0.0], dtype=torch.float64)
            sgd.step()
    assert [r.grad_norm for r in measured.readings] == [3.0, 30.0]
    assert [r.gain for r in measured.readings] == pytest.approx([1 / 3, 1 / 30], rel=1e-5)


def test_a_gradient_overwritten_after_the_closure_made_it():
    p = parameter(0.0, 0.0)
    sgd = ClipsAfterClosure([p], lr=1.0)

    def closure():
        sgd.zero_grad()
        loss = 30 * p[0]
        loss.backward()
        return loss

    with measure(sgd) as measured:
        assert sgd.step(closure) is not None
        sgd.step(closure=closure)
    assert [r.grad_norm for r in measured.readings] == [30.0, 30.0]


class ClipsAfterClosure(torch.optim.SGD):
    def step(self, closure=None):
        loss = closure()
        for group in self.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        super().step()
        return loss


def test_a_step_that_failed_half_way_does_not_end_the_measuring():
    p = parameter(1.0)
    sgd = ClipsInPlace([p], lr=0.1)

    def broken():
        raise RuntimeError("no batch")

    with measure(sgd) as measured:
        with pytest.raises(RuntimeError, match="no batch"):
            sgd.step(broken)
        sgd.step()
        sgd.step()
    assert [r.step for r in measured.readings] == [2, 3]


def test_parameters_without_a_gradient_frozen_or_added_midway():
    a, b, late = parameter(1.0), parameter(2.0), parameter(3.0)
    frozen = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)
    sgd = torch.optim.SGD([a, b, frozen], lr=0.1)
    with measure(sgd) as measured:
        b.grad = None
        sgd.step()
        b.grad = torch.ones_like(b)
        sgd.add_param_group({"params": [late], "lr": 0.4})
        sgd.step()
        a.requires_grad_(False)
        a.grad = None
        b.grad = late.grad = None
        sgd.step()
    first, second = measured.readings
    assert first.grad_norm == 1.0
    assert second.grad_norm == pytest.approx(math.sqrt(3))
    assert second.nominal == pytest.approx(0.2)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_gradient_nothing_can_be_divided_by_gives_no_reading(bad):
    p = parameter(1.0, 1.0)
    sgd = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    with measure(sgd) as measured:
        p.grad.fill_(bad)
        sgd.step()
    assert measured.readings == ()


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler_and_a_skipped_step(fused):
    p = parameter(1.0, 1.0, dtype=torch.float32)
    adam = torch.optim.Adam([p], lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with measure(adam) as measured:
        for size in (2.0, math.inf, 2.0):
            adam.zero_grad()
            scaler.scale((size * p).sum()).backward()
            scaler.step(adam)
            scaler.update()
    assert [r.grad_norm for r in measured.readings] == pytest.approx([2 * math.sqrt(2)] * 2)
    assert measured.readings[0].gain == pytest.approx(0.05, rel=1e-4)


def test_the_step_that_only_creates_state_is_not_a_sample():
    p = parameter(1.0)
    adam = torch.optim.Adam([p], lr=0.1)
    with measure(adam) as measured:
        adam.param_groups[0]["lr"] = torch.tensor(0.0)
        p.grad.zero_()
        adam.step()
        adam.param_groups[0]["lr"] = 0.1
        p.grad.fill_(1.0)
        adam.step()
    assert [r.step for r in measured.readings] == [1]


def test_closing_takes_the_hooks_off_also_after_an_error():
    p = parameter(1.0)
    sgd = torch.optim.SGD([p], lr=0.1)
    with pytest.raises(RuntimeError, match="training"), measure(sgd) as measured:
        sgd.step()
        raise RuntimeError("training")
    sgd.step()
    assert len(measured.readings) == 1
    assert not sgd._optimizer_step_pre_hooks and not sgd._optimizer_step_post_hooks


def test_a_copy_of_the_optimizer_is_not_measured():
    p = parameter(1.0)
    sgd = torch.optim.SGD([p], lr=0.1)
    with measure(sgd) as measured:
        twin = copy.deepcopy(sgd)
        twin.step()
        sgd.step()
    assert len(measured.readings) == 1


def test_two_optimizers_are_two_measures():
    a, b = parameter(1.0), parameter(1.0)
    one, two = torch.optim.SGD([a], lr=0.1), torch.optim.SGD([b], lr=0.2)
    with measure(one) as first, measure(two) as second:
        one.step()
        two.step()
        two.step()
    assert [r.nominal for r in first.readings] == [0.1]
    assert [r.nominal for r in second.readings] == [0.2, 0.2]


@pytest.mark.parametrize("name", ["optimizer", "optim", "_optimizer"])
def test_wrappers_are_opened(name):
    p = parameter(1.0)
    sgd = torch.optim.SGD([p], lr=0.1)
    wrapper = type("Wrapper", (), {})()
    setattr(wrapper, name, sgd)
    with measure(wrapper) as measured:
        sgd.step()
    assert len(measured.readings) == 1
    with pytest.raises(UnsupportedTensorError, match="got int"):
        measure(3)


def test_low_precision_weights_show_the_move_they_made():
    p = parameter(1.0, dtype=torch.bfloat16)
    sgd = torch.optim.SGD([p], lr=1e-4)
    with measure(sgd) as measured:
        sgd.step()
        sgd.param_groups[0]["lr"] = 0.5
        sgd.step()
    lost, seen = measured.readings
    assert (lost.gain, lost.alignment) == (0.0, 0.0)
    assert seen.gain == pytest.approx(0.5)


def test_measuring_changes_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    twin = copy.deepcopy(model)
    x = torch.randn(16, 8)

    def train(m, watched):
        adam = torch.optim.AdamW(m.parameters(), lr=1e-2)
        handle = measure(adam, every=2) if watched else None
        for _ in range(10):
            adam.zero_grad()
            m(x).pow(2).mean().backward()
            adam.step()
        if handle:
            handle.close()

    train(model, True)
    train(twin, False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))

"""Three ways to read a step, and the same reading by each."""

import math

import pytest
import torch
from torch import nn

import accelerando as acc
from accelerando.lens import measure
from accelerando.lens import steps as ways

OURS = [acc.Adam, acc.AdamW, acc.LAMB, acc.RAdam, acc.AdaBelief, acc.Accelerando]


@pytest.fixture
def slowly(monkeypatch):
    """Have every step gone through tensor by tensor."""

    def force():
        monkeypatch.setattr(ways.Steps, "told", lambda self, optimizer: None)
        monkeypatch.setattr(ways.Steps, "_laid_out", lambda self, params: None)

    return force


def model(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)


def read(make, dtype=torch.float32, steps=6, within=False, change=lambda net, step: None):
    """The readings of some steps, of the class of each that was read."""
    net, kinds = model(dtype), []
    optimizer = make(net.parameters())
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    with measure(optimizer, every=None if within else 1) as measured:
        take = measured._take
        measured._take = lambda begun: (kinds.append(type(begun)), take(begun))
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            net(x).pow(2).mean().backward()
            change(net, step)
            if within:
                with measured.at(step):
                    optimizer.step()
            else:
                optimizer.step()
    return measured.readings, kinds


def same(one, other, rel):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert (a.step, a.nominal) == (b.step, b.nominal)
        for name in ("gain", "alignment", "effective", "grad_norm", "displacement_norm"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=rel, abs=1e-12), name


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("cls", OURS)
def test_ours_sum_while_they_step(cls, within, slowly):
    options = {"weight_decay": 0.1} if cls in (acc.AdamW, acc.LAMB) else {}
    quick, kinds = read(lambda ps: cls(ps, lr=1e-2, **options), within=within)
    assert set(kinds) == {ways.Told}
    slowly()
    slow, kinds = read(lambda ps: cls(ps, lr=1e-2, **options))
    assert set(kinds) == {ways.Parts}
    same(quick, slow, 2e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("within", [False, True])
def test_a_small_model_is_one_vector(dtype, decay, within, slowly):
    quick, kinds = read(lambda ps: torch.optim.AdamW(ps, lr=1e-2, weight_decay=decay), dtype, within=within)
    assert set(kinds) == {ways.Whole}
    slowly()
    slow, kinds = read(lambda ps: torch.optim.AdamW(ps, lr=1e-2, weight_decay=decay), dtype)
    assert set(kinds) == {ways.Parts}
    same(quick, slow, 1e-4)


def without_some(net, step):
    """A gradient that is missing, then a sparse one."""
    if step % 2:
        net[0].bias.grad = None


@pytest.mark.parametrize("make", [lambda ps: torch.optim.SGD(ps, lr=0.1), lambda ps: acc.Adam(ps, lr=0.1)])
def test_gradients_that_come_and_go(make, slowly):
    quick, kinds = read(make, change=without_some)
    assert ways.Parts not in kinds
    slowly()
    slow, _ = read(make, change=without_some)
    same(quick, slow, 2e-4)


class Clips(torch.optim.SGD):
    def step(self, closure=None):
        nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 0.1)
        return super().step(closure)


class ClipsOurs(acc.AdamW):
    def step(self, closure=None):
        nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 0.1)
        return super().step(closure)


@pytest.mark.parametrize("cls", [Clips, ClipsOurs])
def test_gradients_are_read_as_they_were_given(cls, slowly):
    quick, kinds = read(lambda ps: cls(ps, lr=0.1), within=True)
    assert set(kinds) == {ways.Whole}
    assert quick[0].grad_norm > 0.2
    slowly()
    slow, _ = read(lambda ps: cls(ps, lr=0.1))
    same(quick, slow, 2e-4)


def test_two_decays_two_precisions_and_large_models_go_by_tensors():
    net = model()
    decays = [{"params": net[0].parameters(), "weight_decay": 0.1}, {"params": net[2].parameters()}]
    mixed = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, dtype=torch.float64))]
    large = [nn.Parameter(torch.ones(ways.BLOCK + 1))]
    for params in (decays, mixed, large):
        optimizer = torch.optim.AdamW(params, lr=0.1, weight_decay=0.0)
        assert isinstance(ways.Steps().begin(optimizer, True), ways.Parts)


def test_vectors_are_laid_out_again_when_the_parameters_change():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    sgd = torch.optim.SGD([a], lr=0.5)
    with measure(sgd) as measured:
        a.grad = torch.ones(2)
        sgd.step()
        sgd.add_param_group({"params": [b], "lr": 0.25})
        b.grad = torch.ones(3)
        sgd.step()
        sgd.step()
    first, second, third = measured.readings
    assert first.grad_norm == pytest.approx(math.sqrt(2))
    assert second.grad_norm == third.grad_norm == pytest.approx(math.sqrt(5))
    assert second.nominal == pytest.approx((2 * 0.5 + 3 * 0.25) / 5)


@pytest.mark.parametrize("cls", [torch.optim.SGD, acc.Adam])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_gives_no_reading(cls, bad):
    w = nn.Parameter(torch.ones(4))
    optimizer = cls([w], lr=0.1)
    measured = measure(optimizer, every=None)
    for step, value in enumerate((1.0, bad), 1):
        w.grad = torch.full((4,), value)
        with measured.at(step):
            optimizer.step()
    assert [r.step for r in measured.readings] == [1]


@pytest.mark.parametrize("cls", [torch.optim.SGD, acc.Adam])
def test_nothing_is_left_on_the_optimizer_between_steps_that_are_read(cls):
    w = nn.Parameter(torch.ones(4))
    optimizer = cls([w], lr=0.1)
    measured = measure(optimizer, every=None)
    w.grad = torch.ones(4)
    with measured.at(1):
        optimizer.step()
    with pytest.raises(ZeroDivisionError), measured.at(2):
        optimizer.step()
        raise ZeroDivisionError
    with measured.at(3):
        pass
    optimizer.step()
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert measured.readings[0].step == 1
    assert {r.step for r in measured.readings} <= {1, 2}


def test_a_lens_and_two_measures_read_the_same_step_of_ours():
    w = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = acc.AdamW([w], lr=0.1)
    with (
        acc.Lens(optimizer, every=1) as lens,
        measure(optimizer) as one,
        measure(optimizer, every=None) as other,
    ):
        for step in range(1, 4):
            w.grad = torch.tensor([1.0, 2.0])
            with other.at(step):
                optimizer.step()
    gains = [row["gain"] for row in lens.table("group")]
    assert len(gains) == 3
    assert [r.gain for r in one.readings] == [r.gain for r in other.readings] == pytest.approx(gains)

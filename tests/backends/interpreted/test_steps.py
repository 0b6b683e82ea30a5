"""Kernels equal eager: every rule, every option."""

import copy
import math

import pytest
import torch

from accelerando import optim
from accelerando.engine import registry

from .. import rules
from ..rules import Everything, Layerwise
from .twins import GROUPS, Twins, exact, problem

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy on inf - inf and roots below zero

RULES = [
    *((registry.find(n), flag) for n in registry.names() for flag in registry.find(n).rules),
    *((cls, None) for cls in (*rules.ELEMENTWISE, *rules.WITH_SUMS, *rules.ACROSS_SCOPES)),
]


def options_of(cls, flag):
    return {name: name == flag for name in cls.variants}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("cls", "flag"), RULES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_every_rule(cls, flag, dtype):
    starts, gradients = problem(dtype, steps=2 if dtype == torch.float32 else 1)
    twins = Twins(cls, starts, GROUPS, **options_of(cls, flag))
    assert twins.params(twins.device)[3].data_ptr() % 16
    for g in gradients:
        twins.step(g)
        library = cls in (rules.Operations, rules.Scopes)  # exp and log differ in their last bits, and cancel
        twins.check(exact=exact(cls.rules[flag]), units=64 if library else 4)
    assert twins.built == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("cls", [optim.AdamW, optim.LAMB, Everything], ids=lambda x: x.__name__)
def test_other_dtypes(cls, dtype):
    starts, gradients = problem(dtype, steps=1)
    twins = Twins(cls, starts, GROUPS)
    twins.step(gradients[0])
    twins.check(exact=dtype == torch.float16)


@pytest.mark.parametrize("cls", [optim.AdamW, Everything], ids=lambda x: x.__name__)
def test_parameters_of_several_dtypes(cls):
    starts, gradients = problem()
    dtypes = [torch.float32, torch.bfloat16, torch.float32, torch.bfloat16, torch.float32, torch.bfloat16]
    twins = Twins(cls, [s.to(d) for s, d in zip(starts, dtypes, strict=True)], GROUPS)
    for g in gradients:
        twins.step([x.to(d) for x, d in zip(g, dtypes, strict=True)])
        twins.check()


def test_variants_side_by_side():
    starts, gradients = problem()
    twins = Twins(optim.AdamW, starts, ({"amsgrad": True}, {"maximize": True}))
    for g in gradients:
        twins.step(g)
        twins.check()
    assert len(twins.driver.families) == 2


@pytest.mark.parametrize("cls", [optim.Adam, optim.LAMB], ids=lambda x: x.__name__)
def test_clip(cls):
    starts, gradients = problem()
    twins = Twins(cls, starts, ({"max_grad_norm": 0.5}, {"max_grad_norm": 3.0, "maximize": True}))
    for g in gradients:
        twins.step(g)
        twins.check(exact=False)


def test_clip_of_one_group_leaves_the_other_and_looks_at_no_other_norm():
    starts, gradients = problem()
    twins = Twins(optim.Adam, starts, ({}, {"max_grad_norm": 1e9}))
    gradients[0][0][0, 0] = math.nan
    twins.step(gradients[0])
    twins.check(exact=False)
    assert not any(torch.isnan(p).any() for p in twins.params(twins.device)[1:])


def test_clip_beyond_the_squares_of_float32():
    starts, _ = problem(shapes=((5,),))
    twins = Twins(optim.AdamW, starts, ({},), max_grad_norm=1.0)
    twins.step([torch.full((5,), 1e25)])
    twins.check(exact=False)


def test_an_infinite_gradient_goes_through():
    starts, gradients = problem()
    gradients[0][0][0, :3] = torch.tensor([math.inf, -math.inf, math.nan])
    twins = Twins(optim.AdamW, starts, GROUPS, amsgrad=True)
    for g in gradients:
        twins.step(g)
        twins.check()


@pytest.mark.parametrize("cls", [optim.Adam, Everything], ids=lambda x: x.__name__)
def test_skip_changes_nothing(cls):
    starts, gradients = problem()
    twins = Twins(cls, starts, ({}, {"on_nonfinite": "skip"}))
    twins.step(gradients[0])
    twins.check()
    before = copy.deepcopy(twins.device.state_dict())
    params = [p.detach().clone() for p in twins.params(twins.device)]
    gradients[1][4 - 1].view(-1)[5] = math.inf
    twins.step(gradients[1])
    same_state(before, twins.device.state_dict())
    assert all(torch.equal(p, q) for p, q in zip(params, twins.params(twins.device), strict=True))
    twins.step(gradients[0])
    twins.check()


def same_state(a, b):
    for x, y in zip(a["state"].values(), b["state"].values(), strict=True):
        assert all(torch.equal(x[n], y[n]) for n in x)
    assert str(a["param_groups"]) == str(b["param_groups"])


def test_raise_names_the_place_and_changes_nothing():
    starts, gradients = problem()
    twins = Twins(optim.Adam, starts, ({}, {"on_nonfinite": "raise"}))
    gradients[0][3].view(-1)[5] = math.nan
    for p, g in zip(twins.params(twins.device), gradients[0], strict=True):
        p.grad = g
    with pytest.raises(FloatingPointError, match=r"Twin: a gradient is not finite \(group 1, parameter 0\)"):
        twins.step_device()
    assert all(float(s["step"]) == 0 for s in twins.device.state.values())
    assert all(torch.equal(p, q) for p, q in zip(starts, twins.params(twins.device), strict=True))


def test_the_scaler_is_heard():
    starts, gradients = problem()
    twins = Twins(optim.LAMB, starts, ({}, {"max_grad_norm": 0.5}))
    scale = torch.tensor(1024.0)
    for p, q, g in zip(twins.params(twins.eager), twins.params(twins.device), gradients[0], strict=True):
        p.grad, q.grad = g.clone(), g * 1024
    twins.before = [p.detach().clone() for p in starts]
    twins.eager.step()
    twins.step_device(found_inf=torch.zeros(1), grad_scale=scale)
    twins.check(exact=False)
    before = copy.deepcopy(twins.device.state_dict())
    twins.step_device(found_inf=torch.ones(1), grad_scale=scale)
    same_state(before, twins.device.state_dict())
    twins.before = [p.detach().clone() for p in starts]
    twins.eager.step()
    twins.step_device(found_inf=torch.zeros(1), grad_scale=scale)
    twins.check(exact=False)


def test_settings_may_change_between_steps():
    starts, gradients = problem(steps=4)
    twins = Twins(optim.AdamW, starts, GROUPS)
    changes = [
        {},
        {"lr": 0.3, "betas": (0.5, 0.9)},
        {"max_grad_norm": 0.1},
        {"max_grad_norm": None, "maximize": True},
    ]
    for g, change in zip(gradients, changes, strict=True):
        for optimizer in (twins.eager, twins.device):
            optimizer.param_groups[1].update(change)
        twins.step(g)
        twins.check(exact=False)
    assert twins.built == 1


def test_a_gradient_that_comes_late_and_one_that_stays_away():
    starts, gradients = problem(steps=3)
    twins = Twins(Layerwise, starts, GROUPS)
    for k, g in enumerate(gradients):
        twins.step([None if (i == 1 and k < 2) or (i == 3 and k == 1) else x for i, x in enumerate(g)])
        twins.check()
    assert [float(s["step"]) for s in twins.device.state.values()] == [3, 3, 2, 3, 3, 1]


def test_eager_goes_on_where_kernels_stopped():
    starts, gradients = problem(steps=4)
    twins = Twins(Everything, starts, GROUPS)
    for g in gradients[:2]:
        twins.step(g)
        twins.check()
    fresh = Twins(Everything, [p.detach() for p in twins.params(twins.device)], GROUPS)
    for optimizer in (fresh.eager, fresh.device):
        optimizer.load_state_dict(copy.deepcopy(twins.device.state_dict()))
    for group in fresh.eager.param_groups:
        group |= {"backend": "eager", "scale": float(group["scale"]), "count": float(group["count"])}
    for g in gradients[2:]:
        twins.step(g)
        fresh.step(g)
        twins.check()
        fresh.check()
        for p, q in zip(twins.params(twins.eager), fresh.params(fresh.eager), strict=True):
            assert torch.equal(p, q)

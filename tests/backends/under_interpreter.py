"""Kernels of the CUDA backend equal eager; run by ``test_triton_interpreter.py`` with ``TRITON_INTERPRET=1``.

Each step starts from eager's state, so that every comparison is of one step: buffers to 0 ULP, parameters to a few
units of their dtype (torch's own square root on the CPU is off by one in some places).
"""

import ast
import copy
import itertools
import math
import os

import pytest
import torch

import accelerando
from accelerando import optim
from accelerando.engine import eager, registry, stores
from accelerando.engine.cuda.layout import Geometry
from accelerando.engine.lots import Item
from accelerando.engine.passes import needed_for
from accelerando.errors import BackendUnavailable
from accelerando.rule import NonNegative, Optimizer

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy on inf - inf and roots below zero
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1 from the start", allow_module_level=True)

from accelerando.engine.cuda.step import DeviceStep, why_not, why_not_together

from . import rules
from .rules import Everything, Later, Layerwise

assert optim


RULES = [
    *((registry.find(n), flag) for n in registry.names() for flag in registry.find(n).rules),
    *((cls, None) for cls in (*rules.ELEMENTWISE, *rules.WITH_SUMS, *rules.ACROSS_SCOPES)),
]


def deal(rule, scheme):
    return Geometry(block=64, tail=32, chunk=128, threads=16, lanes=4)


def items_of(optimizer):
    from accelerando.engine import state

    found, position = [], -1
    for i, group in enumerate(optimizer.param_groups):
        rule = optimizer.rule_of(group)
        for j, p in enumerate(group["params"]):
            position += 1
            if p.grad is None:
                continue
            if not optimizer.state[p]:
                optimizer.state[p].update(state.begin(p, rule, group))
            kept = optimizer.state[p]
            place = f"group {i}, parameter {j}"
            found.append(Item(group, rule, p, p.grad, kept, len(found), place, position))
    return found


class Twins:
    """Two optimizers over equal parameters: one stepped by eager, one by kernels."""

    def __init__(self, cls, starts, groups, **options):
        self.eager = self._make(cls, starts, groups, options | {"backend": "eager"})
        self.device = self._make(cls, starts, groups, options)
        self.driver, self.built = None, 0

    @staticmethod
    def _make(cls, starts, groups, options):
        params = [torch.nn.Parameter(_view(p)) for p in starts]
        cut = 3 if len(groups) == 2 else len(params)
        parts = [params[:cut], params[cut:]]
        return cls([{"params": own, **g} for own, g in zip(parts, groups, strict=False)], **options)

    @staticmethod
    def params(optimizer):
        return [p for g in optimizer.param_groups for p in g["params"]]

    def step(self, gradients, **scaler):
        self.before = [p.detach().clone() for p in self.params(self.eager)]
        for optimizer in (self.eager, self.device):
            for p, g in zip(self.params(optimizer), gradients, strict=True):
                p.grad = None if g is None else g.clone()
        self.eager.step()
        self.step_device(**scaler)

    def step_device(self, **scaler):
        items = items_of(self.device)
        assert [why_not(i) for i in items] == [None] * len(items)
        assert why_not_together(items, self.device.param_groups) is None
        grads, params = [i.g for i in items], [i.p for i in items]
        if (
            self.driver is None
            or list(map(id, self.driver.params)) != list(map(id, params))
            or not self.driver.fits(grads)
        ):
            self.driver = DeviceStep("Twin", items, deal)
            self.built += 1
        self.driver.run(grads, **scaler)

    def check(self, exact=True, units=4):
        """Compare; then start the next step from eager's state."""
        triples = zip(self.params(self.eager), self.params(self.device), self.before, strict=True)
        for p, q, before in triples:
            close(q.detach(), p.detach(), units, before)
            for name, want in self.eager.state.get(p, {}).items():
                got = self.device.state[q][name]
                assert got.dtype == want.dtype
                if want.dtype == torch.float64 and not want.ndim:
                    assert float(got) == pytest.approx(float(want), rel=1e-7)
                else:
                    close(got, want, 0 if exact or name == "step" else 8 * units)  # no step to measure by
                got.copy_(want)
            with torch.no_grad():
                q.copy_(p)
        for a, b in zip(self.eager.param_groups, self.device.param_groups, strict=True):
            for name in self.eager.rule_of(a).memory:
                if name in a:
                    # a sum in which terms cancel takes over the last bit of torch's square root
                    assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-6)
                    b[name].fill_(float(a[name]))


def close(got, want, units, before=None):
    """Equal to ``units`` of the dtype, at the size of the number or of its step, whichever is greater."""
    assert got.shape == want.shape
    if not got.numel():
        return
    assert torch.equal(torch.isnan(got), torch.isnan(want))
    eps = torch.finfo(want.dtype).eps
    got, want = torch.nan_to_num(got.double()), torch.nan_to_num(want.double())
    size = want.abs().clamp(min=0.01 if units else 0)
    if before is not None:
        size = torch.maximum(size, (want - torch.nan_to_num(before.double())).abs())
    room = units * eps * size
    worst = ((got - want).abs() - room).max().item()
    assert worst <= 0, worst


def _view(start):
    """A copy of ``start``; those of 70 elements lie at an odd address."""
    if start.numel() != 70:
        return start.clone()
    room = torch.empty(start.numel() + 1, dtype=start.dtype)
    room[1:] = start
    return room[1:]


def problem(dtype=torch.float32, steps=2, shapes=((17, 9), (33,), (), (70,), (0,), (64, 2)), seed=0):
    generator = torch.Generator().manual_seed(seed)
    starts = [torch.randn(s, generator=generator).to(dtype) for s in shapes]
    gradients = [[torch.randn(s, generator=generator).to(dtype) for s in shapes] for _ in range(steps)]
    return starts, gradients


GROUPS = ({"lr": 0.1}, {"lr": 0.02})


def exact(rule):
    """Whether buffers are made by additions, multiplications and divisions alone."""
    made = needed_for(rule.direction, rule.buffers)
    nodes = [node for _, value in made.body for node in ast.walk(value)]
    called = {node.func.id for node in nodes if isinstance(node, ast.Call)}
    return not called & {"sqrt", "exp", "log"} and not any(
        isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow) for n in nodes
    )


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


BF16, F16 = torch.bfloat16, torch.float16
BOTH = {"store": "stochastic", "state_dtype": "bf16"}


class Descent(Optimizer):
    """Nothing but the gradient, which may be a number that no parameter starts at."""

    lr: NonNegative = 1.0

    @staticmethod
    def direction(g):
        return g * 1.001


STORED = [
    (optim.AdamW, F16, BOTH),
    *((cls, BF16, BOTH) for cls in (optim.AdamW, optim.LAMB, Everything)),
    *((cls, BF16, {"store": "compensated"}) for cls in (optim.AdamW, optim.LAMB, Everything)),
    (optim.LAMB, BF16, {"store": "compensated", "state_dtype": "bf16"}),
    (optim.AdamW, torch.float64, {"state_dtype": "bf16"}),
]


@pytest.fixture
def rooted(monkeypatch):
    """Eager with roots rounded to nearest, so that both have equal float32 numbers to store."""
    monkeypatch.setitem(eager._TABLE, "sqrt", lambda x: x.double().sqrt().to(x.dtype))
    eager.on_tensors.cache_clear()
    yield
    eager.on_tensors.cache_clear()


def same_bits(twins, cls):
    """Whatever is stored is equal, except the last bits of masters where sums were made in another order."""
    pairs = list(zip(twins.params(twins.eager), twins.params(twins.device), strict=True))
    for p, q in pairs:
        want, got = twins.eager.state[p], twins.device.state[q]
        assert list(want) == list(got)
        for name in twins.eager.rule_of(twins.eager.param_groups[0]).buffers:
            assert want[name].dtype == got[name].dtype
            assert torch.equal(want[name], got[name]), name
        if "remainder" in want and cls is not optim.AdamW:
            masters = (
                stores.master(q.detach(), got["remainder"]),
                stores.master(p.detach(), want["remainder"]),
            )
            close(*masters, 4)
        else:
            assert torch.equal(p, q)
            assert "remainder" not in want or torch.equal(want["remainder"], got["remainder"])


@pytest.mark.parametrize(("cls", "dtype", "options"), STORED, ids=str)
def test_stored_bits_are_those_of_eager(rooted, cls, dtype, options):
    starts, gradients = problem(dtype)
    twins = Twins(cls, starts, GROUPS, store_seed=2**32 - 5, **options)
    for k, g in enumerate(gradients):
        if k:
            for p, q in zip(twins.params(twins.eager), twins.params(twins.device), strict=True):
                for name, value in twins.eager.state[p].items():
                    twins.device.state[q][name].copy_(value)
                q.data.copy_(p.data)
        g[4] = None if k == 0 else g[4]
        g[1] = None if k == 0 else g[1]
        twins.step(g)
        if k:
            same_bits(twins, cls)


@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
def test_numbers_at_the_edges_are_stored_as_eager_stores_them(dtype):
    edges = [0.0, -0.0, math.inf, -math.inf, math.nan, 2.0**-14, 2.0**-24, 3e-6, -7e-8, 65504.0, 1e38, -1e-36]
    step = torch.tensor(edges * 20) * torch.linspace(0.9, 1.1, 240)
    options = [{"store": "stochastic"}, *([{"store": "compensated"}] if dtype == BF16 else [])]
    for option, lr in itertools.product(options, (1.0, 2.0**-10)):  # the second leaves subnormal numbers
        twins = Twins(Descent, [torch.zeros(240, dtype=dtype)], ({},), lr=lr, **option)
        twins.step([step.to(dtype)])
        p, q = (twins.params(o)[0].detach() for o in (twins.eager, twins.device))
        assert torch.equal(p.view(torch.int16), q.view(torch.int16))


def test_gradients_are_not_written():
    starts, gradients = problem(steps=1)
    twins = Twins(optim.LAMB, starts, GROUPS, max_grad_norm=0.1)
    twins.step(gradients[0])
    assert all(torch.equal(p.grad, g) for p, g in zip(twins.params(twins.device), gradients[0], strict=True))


class TestRefusals:
    def item(self, p, g=None):
        optimizer = optim.AdamW([p])
        p.grad = torch.ones_like(p) if g is None else g
        return items_of(optimizer)[0]

    def test_complex(self):
        p = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
        assert why_not(self.item(p)) == "there are no kernels for torch.complex64"

    def test_a_remainder_that_was_cast(self):
        p = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        p.grad = torch.ones_like(p)
        item = items_of(optim.AdamW([p], store="compensated"))[0]
        assert why_not(item) is None
        item.state["remainder"] = item.state["remainder"].float()
        assert why_not(item) == "remainder is torch.float32 on cpu"

    def test_gaps(self):
        p = torch.nn.Parameter(torch.ones(4, 4)[:, :2])
        assert why_not(self.item(p)) == "its elements do not lie side by side"

    def test_a_gradient_laid_out_otherwise(self):
        p = torch.nn.Parameter(torch.ones(3, 4))
        assert why_not(self.item(p, torch.ones(4, 3).t())) == "its gradient is laid out otherwise"

    def test_shared_memory(self):
        base = torch.ones(8)
        optimizer = optim.AdamW([torch.nn.Parameter(base[:5]), torch.nn.Parameter(base[3:])])
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.ones_like(p)
        assert why_not_together(items_of(optimizer)) == "parameters or buffers share memory"

    def test_a_group_that_decides_without_gradients(self):
        ps = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
        optimizer = Later([{"params": [p]} for p in ps])
        ps[0].grad = torch.ones(2)
        reason = why_not_together(items_of(optimizer), optimizer.param_groups)
        assert reason == "a group without gradients shares in a decision over all parameters"


class TestAsAnOptimizer:
    """The same kernels, reached by ``optimizer.step()``; here the CPU passes for the device."""

    @pytest.fixture(autouse=True)
    def device(self, monkeypatch):
        from accelerando.engine import choice
        from accelerando.engine.cuda.step import DeviceStep

        monkeypatch.setattr(choice, "DEVICES", ("cpu",))
        make = DeviceStep.__init__
        monkeypatch.setattr(DeviceStep, "__init__", lambda self, owner, items: make(self, owner, items, deal))

    @staticmethod
    def walk(cls, steps, optimizer=None, params=None, **options):
        params = params or [torch.nn.Parameter(torch.linspace(-1, 1, n)) for n in (70, 5)]
        optimizer = optimizer or cls(params, lr=0.1, **options)
        for k in steps:
            for p in params:
                p.grad = torch.sin(torch.arange(p.numel()) + float(k)).to(p.dtype)
            optimizer.step()
        return params, optimizer

    @pytest.mark.parametrize(
        "cls", [accelerando.AdamW, accelerando.LAMB, rules.Later], ids=lambda c: c.__name__
    )
    def test_it_steps_as_eager_does(self, cls):
        there, optimizer = self.walk(cls, range(4), backend="cuda")
        here, _ = self.walk(cls, range(4), backend="eager")
        assert type(optimizer._plan).__name__ == "DevicePlan"
        for p, q in zip(there, here, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("options", [{}, BOTH, {"store": "compensated"}], ids=str)
    def test_it_goes_on_from_what_was_saved(self, options):
        start = [torch.linspace(-1, 1, n).to(BF16 if options else torch.float32) for n in (200, 5)]
        params = [torch.nn.Parameter(p) for p in start]
        there, optimizer = self.walk(accelerando.LAMB, range(3), None, params, backend="cuda", **options)
        twins = [torch.nn.Parameter(p.detach().clone()) for p in there]
        twin = accelerando.LAMB(twins, lr=0.5)
        twin.load_state_dict(optimizer.state_dict())
        self.walk(None, range(3, 5), optimizer, there)
        self.walk(None, range(3, 5), twin, twins)
        for p, q in zip(there, twins, strict=True):
            assert torch.equal(p, q)

    def test_a_scaler_that_found_infinities_stops_the_step(self):
        params, optimizer = self.walk(accelerando.AdamW, range(2), backend="cuda")
        assert optimizer._step_supports_amp_scaling
        before = [p.detach().clone() for p in params]
        optimizer.found_inf, optimizer.grad_scale = torch.ones(1), torch.full((1,), 8.0)
        self.walk(None, [2], optimizer, params)
        assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
        assert {float(s["step"]) for s in optimizer.state.values()} == {2.0}

    def test_what_has_no_kernel_there_is_refused_or_left_to_eager(self):
        p = torch.nn.Parameter(torch.ones(8, dtype=torch.complex64))
        p.grad = torch.ones_like(p)
        with pytest.raises(BackendUnavailable, match="backend='cuda' cannot make this step"):
            accelerando.AdamW([p], backend="cuda").step()

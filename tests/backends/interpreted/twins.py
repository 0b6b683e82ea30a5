"""Two optimizers over equal parameters, one stepped by eager and one by kernels of the CUDA backend.

Each step starts from eager's state, so that every comparison is of one step: buffers to 0 ULP, parameters to a few
units of their dtype (torch's own square root on the CPU is off by one in some places).
"""

import ast

import pytest
import torch

from accelerando.engine import state
from accelerando.engine.cuda.layout import Geometry
from accelerando.engine.cuda.step import DeviceStep, why_not, why_not_together
from accelerando.engine.lots import Item
from accelerando.engine.passes import needed_for


def deal(rule, scheme):
    return Geometry(block=64, tail=32, chunk=128, threads=16, lanes=4)


def items_of(optimizer):
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
                    # where terms cancel, the last bit of torch's square root shows, and blocks added in float32
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

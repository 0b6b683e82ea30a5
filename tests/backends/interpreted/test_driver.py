"""What kernels are given and what they refuse; and the same kernels, reached by an optimizer's step."""

import pytest
import torch

import accelerando
from accelerando import optim
from accelerando.engine.cuda.step import why_not, why_not_together
from accelerando.errors import BackendUnavailable

from .. import rules
from ..rules import Later
from .twins import GROUPS, Twins, deal, items_of, problem

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy on inf - inf and roots below zero

BF16 = torch.bfloat16
BOTH = {"store": "stochastic", "state_dtype": "bf16"}


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

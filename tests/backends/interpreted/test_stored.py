"""What kernels store in 16 bits is what eager stores."""

import itertools
import math

import pytest
import torch

from accelerando import optim
from accelerando.engine import eager, stores
from accelerando.rule import NonNegative, Optimizer

from ..rules import Everything
from .twins import GROUPS, Twins, close, problem

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy on inf - inf and roots below zero

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

"""Parameters, runs and methods that the tests of stores share."""

import torch

import accelerando
from accelerando import AdamW, optim
from accelerando.engine.cpu.lot import CpuLot
from accelerando.engine.eager import EagerLot
from accelerando.rule import NonNegative, Optimizer

from . import rules

SHIPPED = [getattr(accelerando, name) for name in optim.list()]
ALL = [*SHIPPED, *rules.ELEMENTWISE, *rules.WITH_SUMS]
ELEMENTWISE = [cls for cls in ALL if cls.rules[None].elementwise]
SHAPES = [(3, 5), (), (0,), (257,), (2, 3, 4), (40_000,)]
BF16, F16 = torch.bfloat16, torch.float16
POLICIES = [
    {"store": "stochastic"},
    {"store": "compensated"},
    {"state_dtype": "bf16"},
    {"store": "stochastic", "state_dtype": "bf16"},
    {"store": "compensated", "state_dtype": "bf16"},
]
BOTH = [{"store": "stochastic", "state_dtype": "bf16"}, {"store": "compensated"}]
"""What, together, comes through every line of the generated stores."""
STORED = [(BF16, s) for s in POLICIES] + [(F16, s) for s in POLICIES if s.get("store") != "compensated"]
BACKENDS = ["eager", "cpu"]
RESUMED = [(AdamW, s) for s in POLICIES] + [
    (c, s) for c in (accelerando.LAMB, rules.Everything) for s in BOTH
]


class Descent(Optimizer):
    """Nothing but the gradient."""

    lr: NonNegative = 0.01

    @staticmethod
    def direction(g):
        return g


class Momentum(Optimizer):
    """Without a square root, whose last bit PyTorch may miss."""

    lr: NonNegative = 0.01
    buffers = ("trace",)

    @staticmethod
    def direction(g, trace):
        trace = 0.9 * trace + g
        return trace, trace


def short(x):
    return "-".join(map(str, x.values())) if isinstance(x, dict) else getattr(x, "__name__", str(x))


def parameters(dtype, seed=0, shapes=SHAPES):
    stream = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(s, generator=stream, dtype=torch.float64).to(BF16).to(dtype))
        for s in shapes
    ]


def train(optimizer, steps, seed=1):
    """Steps on gradients that bfloat16 and float32 both hold; parameter 3 has none in the first two."""
    stream = torch.Generator().manual_seed(seed)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for t in range(steps):
        for k, p in enumerate(params):
            g = torch.randn(p.shape, generator=stream, dtype=torch.float64).to(BF16).to(p.dtype)
            p.grad = None if k == 3 and t < 2 and seed == 1 else g
        optimizer.step()


def walk(cls, backend, dtype=BF16, steps=5, **settings):
    params = parameters(dtype)
    optimizer = cls(params, lr=0.01, backend=backend, **settings)
    train(optimizer, steps)
    assert {type(lot) for lot in optimizer._plan.lots} == {EagerLot if backend == "eager" else CpuLot}
    return params, optimizer


def state_of(optimizer):
    return [
        (name, value)
        for state in optimizer.state_dict()["state"].values()
        for name, value in state.items()
        if torch.is_tensor(value)
    ]


def assert_same(one, two):
    (ps, a), (qs, b) = one, two
    for p, q in zip(ps, qs, strict=True):
        assert p.dtype == q.dtype and torch.equal(p, q)
    for (name, kept), (other_name, other) in zip(state_of(a), state_of(b), strict=True):
        assert name == other_name and kept.dtype == other.dtype and torch.equal(kept, other), name

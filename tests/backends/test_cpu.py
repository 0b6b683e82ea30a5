"""The CPU backend against eager, which is the specification: buffers to the bit, parameters to a few eps.

Not to the bit, since PyTorch's square root on the CPU may be off by one in the last place, and kernels' is not.
"""

import pytest
import torch

import accelerando
from accelerando import optim
from accelerando.engine.cpu import lot as cpu_lot
from accelerando.engine.cpu.lot import CpuLot
from accelerando.engine.eager import EagerLot
from accelerando.errors import BackendUnavailable

from . import rules

SHIPPED = [getattr(accelerando, name) for name in optim.list()]
ROOTED = {accelerando.DAdaptAdam, accelerando.Prodigy, accelerando.ScheduleFreeAdamW}
"""Whose buffers are made of square roots, or of an estimate that is."""
ALL = [*SHIPPED, *rules.ELEMENTWISE, *rules.WITH_SUMS, *rules.ACROSS_SCOPES]
SHAPES = [(3, 5), (), (0,), (257,), (2, 3, 4), (40_000,)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def parameters(dtype, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(s, generator=stream, dtype=torch.float64).to(dtype)) for s in SHAPES
    ]


def groups(params, **options):
    return [{"params": params[:2], "lr": 0.02}, {"params": params[2:], **options}]


def walk(cls, backend, dtype=torch.float32, steps=6, **options):
    params = parameters(dtype)
    optimizer = cls(
        groups(params), **{"lr": 0.01, "backend": backend} | dict.fromkeys(cls.variants, False) | options
    )
    stream = torch.Generator().manual_seed(1)
    for t in range(steps):
        for k, p in enumerate(params):
            late = k == 3 and t < 2
            g = torch.randn(p.shape, generator=stream, dtype=torch.float64).to(dtype)
            p.grad = None if late else g
        optimizer.step()
    return params, optimizer


def ran_on(optimizer):
    return {type(lot) for lot in optimizer._plan.lots}


def agree(cls, one, two, dtype, exact):
    (ps, a), (qs, b) = one, two
    assert ran_on(a) == {EagerLot} and ran_on(b) == {CpuLot}
    eps = torch.finfo(dtype).eps
    for p, q, start in zip(ps, qs, parameters(dtype), strict=True):
        for name, kept in a.state[p].items():
            other = b.state[q][name]
            if name in cls.rules[None].buffers and exact:
                assert torch.equal(kept, other), name
            else:
                torch.testing.assert_close(kept, other, rtol=max(1e-6, 4 * eps), atol=1e-7)
        size = torch.maximum(p.detach().abs(), start.detach().abs()).double()
        slack = 64 if cls.rules[None].sums else 8  # sums are added up in another order
        assert ((p - q).abs().double() <= slack * eps * size).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cls", ALL, ids=lambda c: c.__name__)
def test_kernels_do_what_eager_does(cls, dtype):
    exact = (cls in SHIPPED or cls in rules.WITH_SUMS) and cls not in ROOTED
    agree(cls, walk(cls, "eager", dtype), walk(cls, "cpu", dtype), dtype, exact)


FLAGS = [(cls, flag) for cls in SHIPPED for flag in cls.variants]


@pytest.mark.parametrize(("cls", "flag"), FLAGS, ids=lambda x: getattr(x, "__name__", x))
def test_variants_too(cls, flag):
    one, two = (walk(cls, backend, **{flag: True}) for backend in ("eager", "cpu"))
    agree(cls, one, two, torch.float32, cls not in ROOTED)


OPTIONS = [{"maximize": True}, {"max_grad_norm": 0.5}, {"on_nonfinite": "skip"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cls", [accelerando.AdamW, accelerando.LAMB, rules.Later], ids=lambda c: c.__name__)
def test_options_too(cls, options):
    agree(
        cls,
        walk(cls, "eager", **options),
        walk(cls, "cpu", **options),
        torch.float32,
        "max_grad_norm" not in options,
    )


def test_complex_numbers_are_pairs():
    def run(backend):
        p = torch.nn.Parameter(
            torch.randn(5, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
        )
        optimizer = accelerando.AdamW([p], lr=0.1, backend=backend)
        for k in range(3):
            p.grad = (p * (1 + k)).detach()
            optimizer.step()
        return p.detach()

    torch.testing.assert_close(run("eager"), run("cpu"), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("cls", [accelerando.AdamW, accelerando.LAMB, rules.Later], ids=lambda c: c.__name__)
def test_threads_change_no_bit(cls, monkeypatch):
    def run(threads):
        monkeypatch.setattr(cpu_lot.threads, "ENOUGH", 1)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            params, optimizer = walk(cls, "cpu")
            assert max(len(lot.ranges) for lot in optimizer._plan.lots) == min(threads, 2)
            return params
        finally:
            torch.set_num_threads(before)

    for p, q in zip(run(1), run(2), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("layout", ["channels last", "transposed"])
def test_dense_layouts_are_stepped_in_place(layout):
    def lay(t):
        return t.to(memory_format=torch.channels_last) if layout == "channels last" else t.transpose(0, 1)

    def run(backend):
        p = torch.nn.Parameter(lay(torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0))))
        optimizer = accelerando.LAMB([p], lr=0.1, backend=backend)
        for k in range(3):
            p.grad = lay(torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(k)))
            optimizer.step()
        return p.detach()

    torch.testing.assert_close(run("cpu"), run("eager"))


def test_a_demanded_backend_that_cannot_is_refused():
    p = torch.nn.Parameter(torch.zeros(4, 2)[:, 0])
    p.grad = torch.ones(4, 2)[:, 0]
    with pytest.raises(
        BackendUnavailable, match=r"AdamW: backend='cpu' cannot step .* side by side; leave backend out"
    ):
        accelerando.AdamW([p], backend="cpu").step()
    assert torch.equal(p, torch.zeros(4))


def test_parameters_that_share_memory_are_left_to_eager():
    store = torch.zeros(6)
    params = [torch.nn.Parameter(store[:4]), torch.nn.Parameter(store[2:])]
    optimizer = accelerando.AdamW(params, lr=0.1)
    for p in params:
        p.grad = torch.ones(4)
    with pytest.warns(accelerando.errors.BackendWarning, match="shares memory"):
        optimizer.step()
    assert ran_on(optimizer) == {EagerLot}


def test_subnormal_moments_are_zero():
    p = torch.nn.Parameter(torch.ones(64))
    optimizer = accelerando.AdamW([p], backend="cpu")
    p.grad = torch.full((64,), 1e-20)
    optimizer.step()
    assert not optimizer.state[p]["exp_avg_sq"].any()
    tiny = torch.tensor(1e-40)
    assert tiny * 1 == tiny and tiny != 0  # the mode of the thread is given back

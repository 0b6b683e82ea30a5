"""The sums that a step yields, against the same sums read off the weights before and after."""

import pytest
import torch

import accelerando

from . import rules

KEEP = 0.75
CLASSES = [
    accelerando.AdamW,
    accelerando.LAMB,
    accelerando.RAdam,
    rules.Everything,
    rules.Later,
    rules.Averaged,
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ["eager", "cpu"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_what_is_told_is_what_was_done(cls, backend, dtype):
    stream = torch.Generator().manual_seed(0)
    shapes = [(40_000,), (7, 3), (5,)]
    params = [
        torch.nn.Parameter(torch.randn(s, generator=stream, dtype=torch.float64).to(dtype)) for s in shapes
    ]
    optimizer = cls(
        [{"params": params[:2]}, {"params": params[2:], "maximize": True}], lr=0.05, backend=backend
    )
    for told in (False, True, False, True):
        for p in params:
            p.grad = torch.randn(p.shape, generator=stream, dtype=torch.float64).to(dtype)
        before = [p.detach().clone() for p in params]
        measured = optimizer._measure([KEEP, 1.0]) if told else None
        optimizer.step()
        if measured is None:
            continue
        rows = measured.table()
        assert {id(p) for p, _ in rows} == {id(p) for p in params}
        for p, sums in rows:
            k = next(i for i, q in enumerate(params) if q is p)
            g, old = p.grad.double().flatten(), before[k].double().flatten()
            d = p.detach().double().flatten() - (KEEP if k < 2 else 1.0) * old
            want = {"gg": g @ g, "gd": g @ d, "dd": d @ d, "pp": old @ old, "nonfinite": 0.0}
            if "exp_avg" in optimizer.state[p]:
                m = optimizer.state[p]["exp_avg"].double().flatten()
                want["mm"] = m @ m
            assert set(sums) == {*want, "uu"}
            for name, value in want.items():
                assert sums[name] == pytest.approx(float(value), rel=2e-4, abs=1e-6), name
            if cls in (
                accelerando.AdamW,
                accelerando.LAMB,
            ):  # these move along u, by the rate and a trust ratio
                bound = sums["dd"] * sums["uu"] * (1 + 1e-3)
                assert (
                    sums["uu"] > 0
                    and sums["gd"] ** 2 <= sums["gg"] * sums["dd"] <= sums["gg"] * bound / sums["uu"]
                )


def test_telling_changes_no_bit():
    def run(tells):
        p = torch.nn.Parameter(torch.ones(500))
        optimizer = accelerando.LAMB([p], lr=0.1, weight_decay=0.1)
        for k in range(4):
            p.grad = torch.randn(500, generator=torch.Generator().manual_seed(k))
            if tells:
                optimizer._measure()
            optimizer.step()
        return p.detach()

    assert torch.equal(run(False), run(True))


def test_bad_elements_are_counted():
    p = torch.nn.Parameter(torch.ones(5))
    optimizer = accelerando.AdamW([p])
    for _ in range(2):
        p.grad = torch.tensor([1.0, float("nan"), float("inf"), 0.0, 1.0])
        measured = optimizer._measure()
        optimizer.step()
        ((_, sums),) = measured.table()
        assert sums["nonfinite"] == 2


@pytest.mark.parametrize("scale", [1e-25, 0.0, 1e25])
def test_gradients_whose_squares_float32_cannot_hold(scale):
    p = torch.nn.Parameter(torch.ones(70_000))
    optimizer = accelerando.AdamW([p], max_grad_norm=0.5)
    for k in range(2):
        p.grad = scale * torch.randn(70_000, generator=torch.Generator().manual_seed(k))
        measured = optimizer._measure()
        optimizer.step()
    ((_, sums),) = measured.table()
    g = p.grad.double()
    assert sums["gg"] == pytest.approx(float(g @ g), rel=1e-6) and sums["nonfinite"] == 0

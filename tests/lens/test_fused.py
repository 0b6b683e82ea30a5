"""Sums made in one compiled pass are those made one after another."""

import pytest
import torch

from accelerando.lens import Lens, fused

SHAPES = ((700, 300), (300,), (16, 8, 3, 3), (7,))
LOGS = ("alignment", "agreement", "effective")


def recorded(monkeypatch, enough, make):
    monkeypatch.setattr(fused, "ENOUGH", enough)
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    optimizer = make(params)
    with Lens(optimizer, every=1) as lens:
        for step in range(8):
            for p in params:
                g = torch.Generator().manual_seed(step)
                p.grad = 0.01 * torch.randn(p.shape, generator=g)
            optimizer.step()
    return lens.table()


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: torch.optim.AdamW(ps, lr=1e-2, weight_decay=0.1),
        lambda ps: torch.optim.Adam(ps, lr=1e-2, weight_decay=0.1),
        lambda ps: torch.optim.Adam(ps, lr=1e-2, amsgrad=True),
        lambda ps: torch.optim.RAdam(ps, lr=1e-2),
        lambda ps: torch.optim.NAdam(ps, lr=1e-2),
    ],
    ids=["AdamW", "decay in the gradient", "amsgrad", "RAdam", "NAdam"],
)
def test_one_pass_says_what_many_say(monkeypatch, make):
    calls = []
    compare = fused.compare
    monkeypatch.setattr(fused, "compare", lambda *a: calls.append(1) or compare(*a))
    apart, together = (recorded(monkeypatch, enough, make) for enough in (1 << 60, 1))
    assert calls
    for one, other in zip(apart, together, strict=True):
        for field, value in one.items():
            near = field in LOGS or field.startswith("log_")
            wanted = (
                pytest.approx(value, rel=2e-5, abs=1e-5 if near else 0.0)
                if isinstance(value, float)
                else value
            )
            assert other[field] == wanted, (field, one["scope"], one["step"])


def test_sums_are_exact(monkeypatch):
    """Where long float32 sums are not: decay is taken out as float32 weights shrink."""
    monkeypatch.setattr(fused, "ENOUGH", 1)
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(700, 300))
    p.grad = 0.01 * torch.randn(700, 300)
    before, keep = p.detach().double(), torch.tensor(1 - 1e-3).double()
    optimizer = torch.optim.AdamW([p], lr=1e-2, weight_decay=0.1)
    with Lens(optimizer, every=1) as lens:
        optimizer.step()
    d, g = p.detach().double() - keep * before, p.grad.double()
    row = lens.table("tensor")[0]
    assert row["gain"] == pytest.approx(float(d.norm() / g.norm()), rel=1e-9)
    assert row["alignment"] == pytest.approx(float(-(g * d).sum() / g.norm() / d.norm()), rel=1e-9)
    assert row["relative_update"] == pytest.approx(float(d.norm() / before.norm()), rel=1e-9)


def test_gradients_that_are_not_finite(monkeypatch):
    for enough in (1 << 60, 1):
        monkeypatch.setattr(fused, "ENOUGH", enough)
        p = torch.nn.Parameter(torch.ones(50))
        optimizer = torch.optim.Adam([p], lr=0.1)
        with Lens(optimizer, every=1) as lens:
            p.grad = torch.ones(50)
            p.grad[3] = torch.inf
            optimizer.step()
        row = lens.table("tensor")[0]
        assert (row["nonfinite"], row["gain"], row["grad_norm"]) == (1, None, None)

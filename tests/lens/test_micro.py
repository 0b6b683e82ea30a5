"""The gradient noise scale, against gradients whose mean and spread are known."""

import pytest
import torch
from torch import nn

from accelerando.lens import Lens
from accelerando.lens.micro import noise_scale

MEAN, SPREAD = 0.5, 2.0
"""Of each of the 400 elements of a micro-batch's gradient: so tr Σ/‖G‖² is 16 micro-batches."""


def recorded(steps=60, n=4, every=1, scale=1.0, clip=None):
    source = torch.Generator().manual_seed(0)
    p, q = nn.Parameter(torch.zeros(300)), nn.Parameter(torch.zeros(10, 10))
    sgd = torch.optim.SGD([p, q], lr=1e-3)
    with Lens(sgd, every=every) as lens:
        for _ in range(steps):
            sgd.zero_grad()
            for _ in range(n):
                for x in (p, q):
                    g = (MEAN + SPREAD * torch.randn(x.shape, generator=source)) * scale
                    x.grad = g if x.grad is None else x.grad + g
                lens.micro()
            if clip:
                nn.utils.clip_grad_norm_([p, q], clip)
            sgd.step()
    return lens


@pytest.mark.parametrize("options", [{}, {"n": 2}, {"scale": 1e4}, {"clip": 0.1}, {"every": 5, "steps": 300}])
def test_the_noise_scale_of_a_known_distribution(options):
    lens = recorded(**options)
    assert lens.noise_scale()[0, 0, None] == pytest.approx((SPREAD / MEAN) ** 2, rel=0.15)
    by_tensor = lens.noise_scale("tensor")
    assert len(by_tensor) == 2
    assert all(b == pytest.approx((SPREAD / MEAN) ** 2, rel=0.35) for b in by_tensor.values())


def test_the_two_norms_are_exact():
    p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    sgd = torch.optim.SGD([p], lr=1.0)
    with Lens(sgd, every=1) as lens:
        for part in ([3.0, 0.0], [0.0, 4.0]):
            g = torch.tensor(part, dtype=torch.float64) / 2
            p.grad = g if p.grad is None else p.grad + g
            lens.micro()
        sgd.step()
    (row,) = lens.table("tensor")
    assert row["micro_batches"] == 2
    assert row["grad_norm"] == pytest.approx(2.5)
    assert row["micro_grad_norm"] == pytest.approx(((9 + 16) / 2) ** 0.5)
    assert lens.noise_scale("tensor") == {(0, 0, "group0[0] 2"): noise_scale([(2, 12.5, 6.25)])}


def test_by_hand():
    # ‖G‖² = 2 and tr Σ/b = 6: small = 8, and with four of them big = 2 + 6/4
    assert noise_scale([(4, 8.0, 3.5)]) == pytest.approx(3.0)
    assert noise_scale([]) is None
    assert noise_scale([(2, 8.0, 4.0)]) is None  # two that are orthogonal: no gradient but noise


def test_without_micro_batches_there_is_none():
    p = nn.Parameter(torch.ones(3))
    sgd = torch.optim.SGD([p], lr=0.1)
    with Lens(sgd, every=1) as lens:
        for calls in (0, 1):
            p.grad = torch.ones(3)
            for _ in range(calls):
                lens.micro()
            sgd.step()
    assert lens.noise_scale() == {}
    assert {r["micro_batches"] for r in lens.table()} == {None}


def test_a_parameter_whose_gradient_comes_late_and_one_that_has_none():
    p, q, idle = (nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(3))
    sgd = torch.optim.SGD([p, q, idle], lr=1.0)
    with Lens(sgd, every=1) as lens:
        p.grad = torch.ones_like(p)
        lens.micro()
        p.grad = p.grad + 1
        q.grad = torch.ones_like(q)
        lens.micro()
        sgd.step()
    first, second = lens.table("tensor")
    assert first["micro_grad_norm"] == pytest.approx((2 * (2 + 2)) ** 0.5)
    assert second["micro_grad_norm"] == pytest.approx((2 * 2) ** 0.5)

"""AdamW against a float64 transcription of arXiv:1711.05101, Algorithm 2."""

import numpy as np
import torch

from accelerando import AdamW


def paper(p, grads, *, lr, b1, b2, eps, wd):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2  # lines 6, 7
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)  # lines 8, 9
        p = p - (lr * m_hat / (np.sqrt(v_hat) + eps) + lr * wd * p)  # line 12, λ = lr·wd
    return p


def test_two_hundred_steps():
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(7, 5)), rng.normal(size=(200, 7, 5))
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer = AdamW([p], lr=1e-2, weight_decay=0.1)
    for g in grads:
        p.grad = torch.tensor(g)
        optimizer.step()
    want = paper(start, grads, lr=1e-2, b1=0.9, b2=0.999, eps=1e-8, wd=0.1)
    error = np.linalg.norm(p.detach().numpy() - want) / np.linalg.norm(want - start)
    assert error <= 1e-12

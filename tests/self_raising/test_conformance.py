"""Is `Accelerando` the algorithm of its page? A whole run, in float64, against the transcription."""

import numpy as np
import pytest
import torch

from accelerando import Accelerando
from accelerando.testing.papers import accelerando

STEPS = 200
BAR = 1e-12

CASES = [
    {"total_steps": STEPS},
    {"total_steps": STEPS, "lr": 1.0, "weight_decay": 0.3, "betas": (0.8, 0.95), "eps": 1e-3},
    {"total_steps": STEPS, "scale": 0.01},
    {"total_steps": 150},
    {},
]


def series(noise):
    """Gradients that agree, cease to, and turn round; one tensor comes late, one now and then."""
    rng = np.random.default_rng(3)
    starts = [rng.normal(size=(5, 4)), np.zeros(6), 0.1 * rng.normal(size=(3, 2, 2)), np.array(0.5)]
    drifts = [rng.normal(size=s.shape) for s in starts]
    steps = []
    for t in range(STEPS):
        lean = 1 - t / 40 if t < 55 else -0.3
        step = [lean * d + noise * rng.normal(size=d.shape) for d in drifts]
        steps.append(
            [
                g if not (i == 1 and t < 20) and not (i == 2 and t % 3 == 0) else None
                for i, g in enumerate(step)
            ]
        )
    return starts, steps


@pytest.mark.parametrize("noise", [0.05, 1.0, 4.0])
@pytest.mark.parametrize(
    "options", CASES, ids=lambda o: " ".join(f"{k}={v}" for k, v in o.items()) or "defaults"
)
def test_a_whole_run(options, noise):
    starts, steps = series(noise)
    params = [torch.nn.Parameter(torch.tensor(s)) for s in starts]
    optimizer = Accelerando(params, **options)
    for step in steps:
        for p, g in zip(params, step, strict=True):
            p.grad = None if g is None else torch.tensor(g)
        optimizer.step()
    assert optimizer.param_groups[0]["crossed"] > 0
    for p, path in zip(params, accelerando(starts, steps, **options), strict=True):
        way = np.linalg.norm(path[-1] - path[0])
        assert way > 1e-4
        assert np.linalg.norm(p.detach().numpy() - path[-1]) <= BAR * way


@pytest.mark.parametrize("noise", [0.05, 1.0])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.3, "eps": 1e-3}], ids=["defaults", "options"])
def test_what_is_evaluated_where_the_end_is_not_known(options, noise):
    starts, steps = series(noise)
    params = [torch.nn.Parameter(torch.tensor(s)) for s in starts]
    optimizer = Accelerando(params, **options)
    kept = []
    for step in steps:
        for p, g in zip(params, step, strict=True):
            p.grad = None if g is None else torch.tensor(g)
        optimizer.step()
        optimizer.eval()
        kept.append([p.detach().clone().numpy() for p in params])
        optimizer.train()
    assert 0 < optimizer.param_groups[0]["crossed"] < STEPS - 20
    paths = accelerando(starts, steps, **options)
    averages = accelerando(starts, steps, evaluated=True, **options)
    for i, (path, average) in enumerate(zip(paths, averages, strict=True)):
        way = np.linalg.norm(path[-1] - path[0])
        assert np.linalg.norm(average[-1] - path[-1]) > 1e-3 * way
        for step in (10, 100, STEPS):
            assert np.linalg.norm(kept[step - 1][i] - average[step]) <= BAR * way
        assert np.linalg.norm(params[i].detach().numpy() - path[-1]) <= BAR * way

"""Are Prodigy and D-Adaptation their papers? All tensors share one estimate, so they are held together."""

import numpy as np
import pytest
import torch

import accelerando
from accelerando.testing.papers import PAPERS

from .problems import STEPS, Problem, error, problems, run

BAR = 1e-12
RISING = 20
WARM = [min(1.0, (t + 1) / 30) * (1 + np.cos(np.pi * t / STEPS)) / 2 for t in range(STEPS)]
LIMITED = {"growth_rate": 1.02, "d0": 1e-3}

CASES = [
    ("Prodigy", {}),
    ("Prodigy", {"use_bias_correction": True, "betas": (0.8, 0.99)}),
    ("Prodigy", {"lr": 0.5, "safeguard_warmup": True}),
    ("Prodigy", {"weight_decay": 0.1, **LIMITED}),
    ("Prodigy", {"weight_decay": 0.1, "decoupled_weight_decay": False}),
    ("Prodigy", {"beta3": 0.99, "d_coef": 2.0, "eps": 1e-3, "betas": (0.0, 0.9)}),
    ("Prodigy", LIMITED),
    ("DAdaptAdam", {}),
    ("DAdaptAdam", {"use_bias_correction": True, "betas": (0.8, 0.99)}),
    ("DAdaptAdam", {"lr": 0.5, "eps": 1e-3}),
    ("DAdaptAdam", {"weight_decay": 0.1}),
    ("DAdaptAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, **LIMITED}),
    ("DAdaptAdam", LIMITED),
]


def fading():
    """The tensors of every other paper; their gradients agree for a while, and then turn round a little."""
    rng = np.random.default_rng(21)

    def fade(problem):
        drift = rng.normal(size=problem.start.shape)
        lean = [max(-0.2, 1 - t / RISING) for t in range(STEPS)]
        size = max((np.abs(g).max() for g in problem.gradients if g is not None), default=1.0)
        return [
            None if g is None else size * (a * drift + 0.3 * rng.normal(size=g.shape))
            for g, a in zip(problem.gradients, lean, strict=True)
        ]

    return [Problem(p.name, p.start, fade(p)) for p in problems()]


def paths(name, tensors, **options):
    steps = list(zip(*(p.gradients for p in tensors), strict=True))
    return PAPERS[name.lower()].trajectory([p.start for p in tensors], steps, **options)


def name_of(case):
    return " ".join([case[0], *(f"{k}={v}" for k, v in case[1].items())])


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_it_is_the_paper(case):
    name, options = case
    tensors = fading()
    ends = run(getattr(accelerando, name), tensors, **options)
    for problem, end, path in zip(tensors, ends, paths(name, tensors, **options), strict=True):
        assert np.abs(path[-1] - path[0]).max() > 1e-4, "nothing to compare: the estimate has not risen"
        assert error(end, path) <= BAR, problem.name


@pytest.mark.parametrize("safeguard", [False, True])
@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdam"])
def test_under_a_schedule(name, safeguard):
    """A warm-up and a cosine decay of ``lr``; the safeguard is Prodigy's alone."""
    if safeguard and name != "Prodigy":
        return
    tensors, options = fading(), {"safeguard_warmup": True} if safeguard else {}
    params = [torch.nn.Parameter(torch.tensor(p.start)) for p in tensors]
    optimizer = getattr(accelerando, name)(params, **options)
    for lr, step in zip(WARM, zip(*(p.gradients for p in tensors), strict=True), strict=True):
        optimizer.param_groups[0]["lr"] = lr
        for param, g in zip(params, step, strict=True):
            param.grad = None if g is None else torch.tensor(g)
        optimizer.step()
    for problem, param, path in zip(tensors, params, paths(name, tensors, lr=WARM, **options), strict=True):
        assert error(param.detach().numpy(), path) <= BAR, problem.name


@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdam"])
def test_a_steady_slope_raises_the_papers_rate(name):
    """Along a straight slope there is no solution to reach, and the estimate grows step by step."""
    ends = paths(name, [Problem("slope", np.zeros(3), [np.ones(3)] * 40)])
    ways = np.abs(np.diff(ends[0][:, 0]))
    assert ways[-1] > 100 * ways[0]
    assert (ways[2:] >= 0.99 * ways[1:-1]).all()

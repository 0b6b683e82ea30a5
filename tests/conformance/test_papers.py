"""Is it the paper? 200 steps in float64, per tensor; the transcriptions are themselves held to torch."""

import numpy as np
import pytest
import torch

import accelerando
from accelerando.testing.papers import PAPERS, adam, adamw, lamb, nvlamb, radam, schedulefreeadamw

from .problems import error, problems, run

BAR = 1e-12
NVLAMB_BAR = 1e-5  # torch's clipping divides by the norm plus 1e-6

CASES = [
    ("Adam", {}),
    ("Adam", {"weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "betas": (0.8, 0.9), "eps": 1e-3}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.3, "betas": (0.0, 0.99)}),
    ("AdamW", {"amsgrad": True, "betas": (0.8, 0.9)}),
    ("RAdam", {}),
    ("RAdam", {"rectify_threshold": 5.0, "weight_decay": 0.1}),
    ("RAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1, "betas": (0.9, 0.99)}),
    ("LAMB", {}),
    ("LAMB", {"weight_decay": 0.1}),
    ("LAMB", {"weight_decay": 0.1, "trust_cap": 1.0}),
    ("LAMB", {"adapt": False, "eps": 1e-8}),
    ("AdaBelief", {}),
    ("AdaBelief", {"weight_decay": 0.1, "eps": 1e-8}),
    ("AdaBelief", {"amsgrad": True, "betas": (0.8, 0.9)}),
    ("ScheduleFreeAdamW", {}),
    ("ScheduleFreeAdamW", {"warmup_steps": 40, "r": 1.0}),
    ("ScheduleFreeAdamW", {"weight_decay": 0.1, "weight_lr_power": 0.0, "warmup_steps": 7}),
    ("ScheduleFreeAdamW", {"betas": (0.0, 0.9), "eps": 1e-3, "r": 2.5}),
]


def name_of(case):
    return " ".join([case[0], *(f"{k}={v}" for k, v in case[1].items())])


@pytest.mark.parametrize("backend", ["eager", "cpu"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_it_is_the_paper(case, backend):
    name, options = case
    tensors = problems()
    ends = run(getattr(accelerando, name), tensors, lr=1e-2, backend=backend, **options)
    for problem, end in zip(tensors, ends, strict=True):
        path = PAPERS[name.lower()].trajectory(problem.start, problem.gradients, lr=1e-2, **options)
        assert error(end, path) <= BAR, problem.name


@pytest.mark.parametrize("options", [{}, {"warmup_steps": 40, "r": 1.0}, {"betas": (0.0, 0.9)}], ids=str)
def test_the_average_is_the_papers(options):
    """`eval` puts Algorithm 1's x into the parameters."""
    tensors = problems()
    params = [torch.nn.Parameter(torch.tensor(p.start)) for p in tensors]
    optimizer = accelerando.ScheduleFreeAdamW(params, lr=1e-2, **options)
    for step in zip(*(p.gradients for p in tensors), strict=True):
        for param, g in zip(params, step, strict=True):
            param.grad = None if g is None else torch.tensor(g)
        optimizer.step()
    optimizer.eval()
    for problem, param in zip(tensors, params, strict=True):
        path = schedulefreeadamw(problem.start, problem.gradients, lr=1e-2, average=True, **options)
        assert error(param.detach().numpy(), path) <= BAR, problem.name


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("cls", "more"), [("AdamWScheduleFree", {}), ("AdamWScheduleFreePaper", {"corrects_rate": True})]
)
def test_both_versions_of_the_authors_are_transcribed(cls, more):
    """On the tensors whose gradients all come: they count steps per group."""
    theirs = getattr(pytest.importorskip("schedulefree"), cls)
    tensors = [p for p in problems() if all(g is not None for g in p.gradients)]
    options = {"lr": 1e-2, "weight_decay": 0.1, "warmup_steps": 30, "r": 1.0}
    params = [torch.nn.Parameter(torch.tensor(p.start)) for p in tensors]
    optimizer = theirs(params, **options)
    optimizer.train()
    for step in zip(*(p.gradients for p in tensors), strict=True):
        for param, g in zip(params, step, strict=True):
            param.grad = torch.tensor(g)
        optimizer.step()
    for problem, param in zip(tensors, params, strict=True):
        path = schedulefreeadamw(problem.start, problem.gradients, **options, **more)
        assert error(param.detach().numpy(), path) <= 1e-11, problem.name


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_the_defaults_are_the_papers(name):
    """Nothing but ``lr`` is given to either side, so a default that differs shows."""
    tensors = problems()
    for problem, end in zip(tensors, run(getattr(accelerando, name), tensors, lr=1e-2), strict=True):
        assert error(end, PAPERS[name.lower()].trajectory(problem.start, problem.gradients, lr=1e-2)) <= BAR


@pytest.mark.parametrize(
    ("reference", "paper", "options", "more"),
    [
        (torch.optim.Adam, adam, {}, {}),
        (torch.optim.Adam, adam, {"weight_decay": 0.1}, {}),
        (torch.optim.Adam, adam, {"amsgrad": True, "betas": (0.8, 0.9)}, {}),
        (torch.optim.AdamW, adamw, {}, {}),
        (torch.optim.AdamW, adamw, {"amsgrad": True, "weight_decay": 0.3}, {}),
        (torch.optim.RAdam, radam, {}, {"rectify_threshold": 5.0}),
        (torch.optim.RAdam, radam, {"weight_decay": 0.1}, {"rectify_threshold": 5.0}),
        (
            torch.optim.RAdam,
            radam,
            {"weight_decay": 0.1, "decoupled_weight_decay": True},
            {"rectify_threshold": 5.0},
        ),
    ],
)
def test_the_transcription_agrees_with_torch(reference, paper, options, more):
    """The two were written apart from each other: rounding is all that may lie between them."""
    tensors = problems()
    ends = run(reference, tensors, lr=1e-2, foreach=False, **options)
    for problem, end in zip(tensors, ends, strict=True):
        path = paper(problem.start, problem.gradients, lr=1e-2, **options, **more)
        assert error(end, path) <= BAR, problem.name


def test_lamb_moves_a_layer_by_lr_times_its_norm():
    """Without decay and cap the paper's step has exactly this length, whatever the gradients are."""
    for problem in problems():
        path = lamb(problem.start, problem.gradients, lr=1e-2)
        steps = zip(path[:-1], path[1:], problem.gradients, strict=True)
        for before, after, g in steps:
            norm = np.linalg.norm(before)
            if norm > 0:
                want = 0.0 if g is None else 1e-2 * norm
                assert np.linalg.norm(after - before) == pytest.approx(want, rel=1e-9)


def test_nvlamb_without_a_limit_is_lamb():
    tensors = [p for p in problems() if all(g is not None for g in p.gradients)]
    together = nvlamb(
        [p.start for p in tensors],
        list(zip(*(p.gradients for p in tensors), strict=True)),
        max_grad_norm=float("inf"),
    )
    for problem, path in zip(tensors, together, strict=True):
        assert error(path[-1], lamb(problem.start, problem.gradients)) <= BAR


def test_lamb_can_be_nvlamb():
    """Global clipping, and every layer adapted whether it decays or not."""
    tensors = [p for p in problems() if all(g is not None for g in p.gradients)]
    decay = [0.1, 0.0, 0.1, 0.0, 0.1, 0.1]
    want = nvlamb(
        [p.start for p in tensors],
        list(zip(*(p.gradients for p in tensors), strict=True)),
        lr=1e-2,
        weight_decay=decay,
    )

    def groups(params):
        return [{"params": [p], "weight_decay": wd} for p, wd in zip(params, decay, strict=True)]

    ends = run(accelerando.LAMB, tensors, groups, lr=1e-2, max_grad_norm=1.0)
    assert max(error(end, path) for end, path in zip(ends, want, strict=True)) <= NVLAMB_BAR

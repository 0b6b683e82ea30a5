"""Whom do we match? torch.optim, in both precisions, one tensor of which gets its gradients late."""

import pytest
import torch

import accelerando

from .series import distance

RADAM5 = {"rectify_threshold": 5}
CASES = [
    ("Adam", {}, {}),
    ("Adam", {"weight_decay": 0.1}, {}),
    ("Adam", {"amsgrad": True, "betas": (0.8, 0.95)}, {}),
    ("Adam", {"maximize": True, "eps": 1e-3}, {}),
    ("AdamW", {}, {}),
    ("AdamW", {"weight_decay": 0.5, "betas": (0.0, 0.9)}, {}),
    ("AdamW", {"amsgrad": True, "maximize": True}, {}),
    ("RAdam", {}, RADAM5),
    ("RAdam", {"weight_decay": 0.1}, RADAM5),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}, RADAM5),
]


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=str)
@pytest.mark.parametrize(("name", "options", "ours_too"), CASES, ids=str)
def test_the_same_trajectory(name, options, ours_too, dtype, bar):
    ours = getattr(accelerando, name)
    theirs = getattr(torch.optim, name)
    gap = distance(
        lambda params: ours(params, lr=1e-2, **options, **ours_too),
        lambda params: theirs(params, lr=1e-2, foreach=False, **options),
        dtype=dtype,
        late=11,
    )
    assert gap <= bar


def test_the_known_difference_of_radam():
    """The paper rectifies one step earlier than torch; that it shows is part of the contract."""
    gap = distance(
        lambda params: accelerando.RAdam(params, lr=1e-2),
        lambda params: torch.optim.RAdam(params, lr=1e-2),
    )
    assert 0.05 < gap < 0.5

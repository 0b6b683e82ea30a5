"""The tensors and gradients on which a method is held to its paper."""

from dataclasses import dataclass

import numpy as np
import torch

STEPS = 200


@dataclass(frozen=True)
class Problem:
    """One tensor and its gradients; ``None`` where it has none."""

    name: str
    start: np.ndarray
    gradients: list


def problems():
    rng = np.random.default_rng(20)

    def gradients(shape, *, missing=(), scale=1.0):
        drift = rng.normal(size=shape)
        return [None if t in missing else scale * (drift + rng.normal(size=shape)) for t in range(STEPS)]

    return [
        Problem("matrix", rng.normal(size=(8, 6)), gradients((8, 6))),
        Problem("large weights", 80 * rng.normal(size=(20, 20)), gradients((20, 20))),
        Problem("zero vector", np.zeros(7), gradients((7,))),
        Problem("ones", np.ones(12), gradients((12,), scale=1e-3)),
        Problem("scalar", np.array(0.3), gradients(())),
        Problem("four axes", rng.normal(size=(2, 3, 2, 3)), gradients((2, 3, 2, 3), scale=1e3)),
        Problem("late", rng.normal(size=(5, 4)), gradients((5, 4), missing=range(50))),
        Problem("now and then", rng.normal(size=(5, 4)), gradients((5, 4), missing=range(0, STEPS, 3))),
    ]


def run(cls, problems, groups=None, **options):
    """Step every problem together in one optimizer; the final positions."""
    params = [torch.nn.Parameter(torch.tensor(p.start)) for p in problems]
    optimizer = cls(params if groups is None else groups(params), **options)
    for step in zip(*(p.gradients for p in problems), strict=True):
        for param, g in zip(params, step, strict=True):
            param.grad = None if g is None else torch.tensor(g)
        optimizer.step()
    return [param.detach().numpy() for param in params]


def error(got, path):
    """The distance to the paper's end, in units of the way the paper went."""
    return np.linalg.norm(got - path[-1]) / np.linalg.norm(path[-1] - path[0])

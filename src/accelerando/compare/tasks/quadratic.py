"""Quadratics with a known optimum: what is slow, and what is noisy, with nothing else in the way.

Both minimize f(x) = ½ Σ λᵢ cᵢ² from a random point on the unit sphere, where c are the coordinates of x in a
turned basis (the orthonormal cosine transform): along the axes themselves Adam's per-coordinate scale would
solve the problem at once. The curvatures λ are log-spaced in [1/condition, 1]; the optimum is 0 at x = 0. A
batch holds centres zₖ, and its loss is the mean over k of f(x − zₖ), whose gradient is that of f at x plus
noise from the mean of zₖ.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..task import Task
from .supervised import Pair

_SIZE = 50


def cosines(size: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II), one basis vector a row."""
    order = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi / size * order[:, None] * (order + 0.5))
    waves[0] /= math.sqrt(2)
    return (waves * math.sqrt(2 / size)).float()


class Point(nn.Module):
    """A point x in a bowl: its axes are the rows of `basis`, each with its curvature."""

    curvature: Tensor
    basis: Tensor

    def __init__(self, condition: float) -> None:
        super().__init__()
        start = torch.randn(_SIZE)
        self.x = nn.Parameter(start / start.norm())
        self.register_buffer("curvature", torch.logspace(0, 1, _SIZE, base=1 / condition))
        self.register_buffer("basis", cosines(_SIZE))

    def forward(self, centre: Tensor) -> Tensor:
        """f(x − centre), the mean over the rows of `centre`."""
        coordinates = (self.x - centre) @ self.basis.T
        return 0.5 * (self.curvature * coordinates.square()).sum(-1).mean()


@dataclass(frozen=True)
class Bowl:
    """Makes the model: a point in a bowl of that condition number."""

    condition: float

    def __call__(self) -> nn.Module:
        """A fresh point."""
        return Point(self.condition)


@dataclass(frozen=True)
class Centres:
    """Seed → endless batches of centres, normal around 0 with that spread; 0 is no noise."""

    spread: float
    size: int

    def __call__(self, seed: int) -> Iterator[Pair]:
        """The stream of that seed."""
        stream = torch.Generator().manual_seed(seed)
        while True:
            yield (self.spread * torch.randn(self.size, _SIZE, generator=stream),)


def _mean(model: nn.Module, batch: Pair) -> Tensor:
    value: Tensor = model(batch[0])
    return value


def excess(model: nn.Module) -> dict[str, float]:
    """f(x): how far above the optimum the point lies; and its distance from the optimum."""
    if not isinstance(model, Point):
        raise TypeError(f"excess: the model must be a Point, got {type(model).__name__}")
    with torch.no_grad():
        return {"loss": float(model(torch.zeros_like(model.x))), "distance": float(model.x.norm())}


def ill_conditioned() -> Task:
    """Curvatures from 1 to 1/1000, exact gradients."""
    return Task(
        name="quadratic",
        title="Ill-conditioned quadratic",
        description="½ Σ λᵢ cᵢ² in 50 dimensions, λ log-spaced from 1 to 1/1000, axes turned against the "
        "parameters, exact gradients, from a random point on the unit sphere. The optimum is 0.",
        model=Bowl(condition=1000.0),
        batches=Centres(spread=0.0, size=1),
        loss=_mean,
        evaluate=excess,
        steps=1000,
        target=1e-6,
        metric="distance",
    )


def noisy() -> Task:
    """Curvatures from 1 to 1/10, gradients with noise that does not vanish at the optimum."""
    return Task(
        name="noisy-quadratic",
        title="Noisy quadratic",
        description="½ Σ λᵢ cᵢ² in 50 dimensions, λ log-spaced from 1 to 1/10, axes turned against the "
        "parameters, a fresh centre ~ N(0, 0.1²) for each of the 4 members of a batch: the noise of the "
        "gradient stays at the optimum. The loss shown is the excess over it.",
        model=Bowl(condition=10.0),
        batches=Centres(spread=0.1, size=4),
        loss=_mean,
        evaluate=excess,
        steps=1000,
        target=1e-3,
        metric="distance",
    )

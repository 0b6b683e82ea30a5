"""One training run under the lens, and the numbers that are read off it."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from accelerando import Lens
from accelerando.compare import tasks
from accelerando.compare.pace import due, evenly
from accelerando.compare.plan import READINGS
from accelerando.lens import Event, measure, rise_of

SEEDS = range(3)
MORE = range(5)
"""Of the questions that cost least."""

Make = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
Schedule = Callable[[torch.optim.Optimizer, int], Any]


@dataclass(frozen=True)
class Run:
    """What the lens saw, and the rise that a comparison would have found."""

    groups: list[dict[str, Any]]
    tensors: list[dict[str, Any]]
    events: list[Event]
    rise: tuple[int, float] | None = None
    evenly: bool = False
    """Whether the lens, which reads evenly, finds one too."""

    def series(self, field: str) -> list[float]:
        """A number of the whole step over time."""
        return [row[field] for row in self.groups]

    @property
    def steps(self) -> list[int]:
        """The steps sampled."""
        return [row["step"] for row in self.groups]


def run(
    name: str,
    make: Make,
    seed: int,
    *,
    every: int = 0,
    schedule: Schedule | None = None,
    steps: int | None = None,
    scale: float = 1.0,
) -> Run:
    """Train a bundled task, for its budget or ``steps``, and watch it.

    What is differentiated is ``scale`` times its loss, and what is sampled every step that ``every`` says, or some 150.
    For the rise it is read as `accelerando compare` reads a trial: densely at first, then evenly.
    """
    task = tasks.load(name)
    count = steps or task.steps
    widest = evenly(count, READINGS)
    torch.manual_seed(seed)
    model = task.model()
    optimizer = make(model.parameters())
    scheduler = schedule(optimizer, count) if schedule else None
    measured = measure(optimizer, every=None)
    with Lens(optimizer, model=model, every=every or max(4, count // 150), limit=10**6) as lens:
        for step, batch in zip(range(1, count + 1), task.batches(seed), strict=False):
            optimizer.zero_grad()
            (scale * task.loss(model, batch)).backward()  # type: ignore[no-untyped-call]
            with measured.at(step) if due(step, widest) else nullcontext():
                optimizer.step()
            if scheduler is not None:
                scheduler.step()
    return Run(
        lens.table("group"),
        lens.table("tensor"),
        lens.events(),
        rise_of(measured.readings),
        bool(lens.rose()),
    )


def given(make: Make, gradients: Sequence[torch.Tensor], every: int = 1) -> Run:
    """Feed gradients made by hand to an optimizer of one tensor."""
    p = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = make([p])
    with Lens(optimizer, every=every, limit=10**6) as lens:
        for g in gradients:
            p.grad = g.clone()
            optimizer.step()
    return Run(lens.table("group"), lens.table("tensor"), lens.events())


def change(series: Sequence[float]) -> float:
    """The last tenth against the second twentieth, of medians: how often over a number has grown.

    The first twentieth is left out: an average that has seen a few gradients is not yet one.
    """
    n = len(series)
    early, late = series[n // 20 : n // 10], series[-(n // 10) :]
    return float(np.median(late) / np.median(early))


def centre(values: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(float(np.mean(np.log(values))))


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's, of ranks."""
    a, b = (np.argsort(np.argsort(v)).astype(float) for v in (x, y))
    return float(np.corrcoef(a, b)[0, 1])

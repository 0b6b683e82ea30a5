"""What a comparison trains: a model, its batches, its loss and its held-out evaluation.

A bundled task and a user's own are the same object:

>>> import torch
>>> from accelerando.compare.task import Task
>>> def batches(seed):
...     stream = torch.Generator().manual_seed(seed)
...     while True:
...         x = torch.randn(8, 2, generator=stream)
...         yield x, x.sum(1, keepdim=True)
>>> def evaluate(model):
...     return {"loss": float((model(torch.eye(2)) - 1).square().mean())}
>>> task = Task(
...     name="sum of two",
...     model=lambda: torch.nn.Linear(2, 1),
...     batches=batches,
...     loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
...     evaluate=evaluate,
...     steps=100,
... )
>>> task.metric
'loss'
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import TaskError

if TYPE_CHECKING:
    import torch

    Batch = tuple[torch.Tensor, ...]

FUNCTIONS = ("model", "batches", "loss", "evaluate")
"""The fields of a `Task` that are called."""


@dataclass(frozen=True)
class Task:
    """One training problem, the same for every strategy.

    Args:
        name: short and unique; it names records and folders.
        model: makes a fresh model. Called under ``torch.manual_seed(seed)``, so every strategy starts from
            the same weights at the same seed.
        batches: seed → the batches, in an order that depends on the seed alone. Better endless; an iterator
            that ends before `steps` batches is an error of the trial.
        loss: (model, batch) → the scalar training loss.
        evaluate: model → held-out numbers. Must contain ``"loss"`` (lower is better), may add others.
        steps: updates of one trial, ≥ 1.
        target: the held-out loss that counts as reached, for steps and seconds to a target.
        title: what a report calls the task; the name where empty.
        description: one or two sentences on the data and the model, for a report.
        metric: the held-out number shown beside the loss.
        files: paths whose content is part of the task's identity, beside the source files of the four
            functions; relative ones are taken from the folder of the file that defines `model`.

    Raises:
        TaskError: a name is empty, a function cannot be called, or `steps` is not a whole number ≥ 1.
    """

    name: str
    model: "Callable[[], torch.nn.Module]"
    batches: "Callable[[int], Iterator[Batch]]"
    loss: "Callable[[torch.nn.Module, Batch], torch.Tensor]"
    evaluate: "Callable[[torch.nn.Module], Mapping[str, float]]"
    steps: int
    target: float | None = None
    title: str = ""
    description: str = ""
    metric: str = "loss"
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise TaskError(f"Task: name must be a text that is not empty, got {self.name!r}")
        for field in FUNCTIONS:
            if not callable(getattr(self, field)):
                raise TaskError(
                    f"Task {self.name!r}: {field} must be a function, got "
                    f"{type(getattr(self, field)).__name__}; pass the function itself, not its result"
                )
        if hasattr(self.model, "parameters") and not isinstance(self.model, type):
            raise TaskError(
                f"Task {self.name!r}: model must make a fresh model at every call, got one "
                f"{type(self.model).__name__}; write model=lambda: {type(self.model).__name__}(...)"
            )
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise TaskError(f"Task {self.name!r}: steps must be a whole number >= 1, got {self.steps!r}")
        if not isinstance(self.files, tuple | list):
            raise TaskError(f"Task {self.name!r}: files must be a tuple of paths, got {self.files!r}")
        object.__setattr__(self, "files", tuple(str(path) for path in self.files))

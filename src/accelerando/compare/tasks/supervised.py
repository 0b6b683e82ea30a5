"""Batches, losses and held-out numbers of supervised tasks, shared by the bundled ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pair: TypeAlias = tuple[Tensor, ...]
Measure: TypeAlias = Callable[[Tensor, Tensor], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Shuffled:
    """Seed → endless batches: one random permutation after another, no example twice within a pass.

    The last, smaller batch of a pass is left out, so every batch has `size` examples.
    """

    inputs: Tensor
    targets: Tensor
    size: int

    def __call__(self, seed: int) -> Iterator[Pair]:
        """The stream of that seed."""
        stream = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.inputs), generator=stream)
            for picked in order[: len(order) // self.size * self.size].view(-1, self.size):
                yield self.inputs[picked], self.targets[picked]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Model → numbers on data it never trained on, in evaluation mode and without gradients."""

    inputs: Tensor
    targets: Tensor
    measure: Measure

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The numbers, on the device of the model."""
        device = next(model.parameters()).device
        with evaluating(model):
            return self.measure(model(self.inputs.to(device)), self.targets.to(device))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode from before comes back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def cross_entropy(model: nn.Module, batch: Pair) -> Tensor:
    """Mean cross-entropy, in nats."""
    return F.cross_entropy(model(batch[0]), batch[1])


def squared_error(model: nn.Module, batch: Pair) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(model(batch[0]), batch[1])


def classified(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Cross-entropy in nats and the share of right answers."""
    right = (logits.argmax(1) == targets).float().mean()
    return {"loss": float(F.cross_entropy(logits, targets)), "accuracy": float(right)}


def regressed(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Mean squared error and R²: the share of the targets' variance that is explained."""
    error = F.mse_loss(outputs, targets)
    spread = (targets - targets.mean(0)).square().mean()
    return {"loss": float(error), "R2": float(1 - error / spread)}

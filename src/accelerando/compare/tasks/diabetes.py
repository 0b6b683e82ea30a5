"""A small tabular regression: the course of diabetes a year on, from ten measurements at the start."""

from torch import Tensor, nn

from ..task import Task
from . import frozen
from .supervised import HeldOut, Shuffled, regressed, squared_error

_FILE = "diabetes.npz"


def standardized(train: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the mean and the spread of the first: nothing is learnt from held-out data."""
    mean, spread = train.mean(0), train.std(0)
    return (train - mean) / spread, (other - mean) / spread


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))


def regression() -> Task:
    """300 patients to train on, 142 held out; noisy targets, so a method can overfit.

    The budget is short for that reason: with four times the updates ``adam+cosine`` at 1e-2 ends at 0.69, not 0.44.
    """
    data = frozen.arrays(_FILE)
    train, held_out = standardized(data["train_x"], data["test_x"])
    train_y, held_out_y = standardized(data["train_y"][:, None], data["test_y"][:, None])
    return Task(
        name="diabetes",
        title="Diabetes progression, regression",
        description="Ten measurements of 442 patients and the progression of the disease a year later (300 "
        "to train on, 142 held out), standardized; an MLP 10-32-1 with tanh, batches of 32.",
        model=_perceptron,
        batches=Shuffled(train, train_y, size=32),
        loss=squared_error,
        evaluate=HeldOut(held_out, held_out_y, regressed),
        steps=500,
        metric="R2",
        files=(frozen.place(_FILE),),
    )

"""MNIST-1D: ten classes of short signals, shifted, scaled and noisy, for a 1-D convolutional net."""

from torch import nn

from ..task import Task
from . import frozen
from .supervised import HeldOut, Shuffled, classified, cross_entropy

_FILE = "mnist1d.npz"


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 40)),
        nn.Conv1d(1, 24, kernel_size=5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv1d(24, 24, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(24, 24, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 5, 10),
    )


def cnn() -> Task:
    """4,000 signals to train on, 1,000 held out."""
    data = frozen.arrays(_FILE)
    train, held_out = data["train_x"].float(), data["test_x"].float()
    return Task(
        name="mnist1d",
        title="MNIST-1D, convolutional net",
        description="5,000 one-dimensional signals of 40 points in ten classes (4,000 to train on, 1,000 "
        "held out); three strided convolutions of 24 channels and a linear layer, batches of 64.",
        model=_network,
        batches=Shuffled(train, data["train_y"].long(), size=64),
        loss=cross_entropy,
        evaluate=HeldOut(held_out, data["test_y"].long(), classified),
        steps=800,
        target=0.6,
        metric="accuracy",
        files=(frozen.place(_FILE),),
    )

"""Real handwritten digits, 8 × 8 pixels: told apart by an MLP, or squeezed through an autoencoder."""

from torch import nn

from ..task import Task
from . import frozen
from .supervised import HeldOut, Shuffled, classified, cross_entropy, regressed, squared_error

_FILE = "digits.npz"


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def mlp() -> Task:
    """Ten classes; 1,200 examples to train on, 597 held out.

    The budget is the largest, in hundreds of updates, at which ``adam+cosine`` does not yet overfit: at 400 and 600
    updates its held-out loss at 1e-2 is the same, at 800 it is 5 % higher and rises on (eight seeds). Beyond, a
    comparison would rank how little a method overfits; `Accelerando`, which is quicker, loses some already here.
    """
    data = frozen.arrays(_FILE)
    train, held_out = data["train_x"].float() / 16, data["test_x"].float() / 16
    return Task(
        name="digits",
        title="Handwritten digits, MLP",
        description="1,797 real handwritten digits of 8 × 8 pixels (1,200 to train on, 597 held out); "
        "an MLP 64-128-64-10 with ReLU, batches of 32.",
        model=_perceptron,
        batches=Shuffled(train, data["train_y"].long(), size=32),
        loss=cross_entropy,
        evaluate=HeldOut(held_out, data["test_y"].long(), classified),
        steps=600,
        target=0.15,
        metric="accuracy",
        files=(frozen.place(_FILE),),
    )


def _bottleneck() -> nn.Module:
    encoder = (nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8))
    decoder = (nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64))
    return nn.Sequential(*encoder, *decoder)


def autoencoder() -> Task:
    """64 pixels through 8 numbers and back: deep, without labels, with flat stretches on the way."""
    data = frozen.arrays(_FILE)
    train, held_out = data["train_x"].float() / 16, data["test_x"].float() / 16
    return Task(
        name="digits-autoencoder",
        title="Handwritten digits, autoencoder",
        description="The pixels of 1,797 handwritten digits squeezed through 8 numbers and back; "
        "a tanh autoencoder 64-64-32-8-32-64-64, batches of 64.",
        model=_bottleneck,
        batches=Shuffled(train, train, size=64),
        loss=squared_error,
        evaluate=HeldOut(held_out, held_out, regressed),
        steps=3000,
        metric="R2",
        files=(frozen.place(_FILE),),
    )

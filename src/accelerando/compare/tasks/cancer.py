"""A convex one: logistic regression, so that every method has the same single optimum to find."""

from torch import Tensor, nn
from torch.nn import functional as F

from ..task import Task
from . import frozen
from .diabetes import standardized
from .supervised import HeldOut, Pair, Shuffled, classified

_FILE = "breast_cancer.npz"
_PENALTY = 1e-3


def _linear() -> nn.Module:
    return nn.Linear(30, 2)


def _penalized(model: nn.Module, batch: Pair) -> Tensor:
    penalty = sum((p.square().sum() for p in model.parameters()), start=batch[0].new_zeros(()))
    return F.cross_entropy(model(batch[0]), batch[1]) + _PENALTY * penalty


def logistic() -> Task:
    """400 tumours to train on, 169 held out; a small L2 penalty makes the optimum finite and unique."""
    data = frozen.arrays(_FILE)
    train, held_out = standardized(data["train_x"], data["test_x"])
    return Task(
        name="breast-cancer",
        title="Breast cancer, logistic regression",
        description="30 measurements of 569 tumours, benign or malignant (400 to train on, 169 held out), "
        f"standardized; logistic regression with an L2 penalty of {_PENALTY:g}, batches of 32. Convex.",
        model=_linear,
        batches=Shuffled(train, data["train_y"].long(), size=32),
        loss=_penalized,
        evaluate=HeldOut(held_out, data["test_y"].long(), classified),
        steps=3000,
        metric="accuracy",
        files=(frozen.place(_FILE),),
    )

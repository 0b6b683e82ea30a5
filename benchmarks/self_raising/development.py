"""The development workloads: constants of the method may be chosen by looking at these."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from nets import (
    Characters,
    OnBatch,
    Pretrained,
    Recurrent,
    Rescaled,
    Windows,
    adapted,
    following,
    stretches,
    text,
)  # fmt: skip
from torch import Tensor, nn
from torch.nn import functional as F

from accelerando.compare import tasks
from accelerando.compare.task import Task
from accelerando.compare.tasks import frozen
from accelerando.compare.tasks.supervised import HeldOut, Shuffled, classified, cross_entropy


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    data = frozen.arrays("digits.npz")
    return (
        data["train_x"].float() / 16, data["train_y"].long(), data["test_x"].float() / 16, data["test_y"].long()
    )  # fmt: skip


@cache
def signals() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    data = frozen.arrays("mnist1d.npz")
    return data["train_x"].float(), data["train_y"].long(), data["test_x"].float(), data["test_y"].long()


def classifier(
    name: str, make: Callable[[], nn.Module], data: tuple[Tensor, ...], size: int, steps: int
) -> Task:
    held_out = HeldOut(data[2], data[3], classified)
    return Task(name, make, Shuffled(data[0], data[1], size), cross_entropy, held_out, steps)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def batch1() -> Task:
    return classifier("batch1", perceptron, digits(), 1, 800)


def batch4() -> Task:
    task = tasks.load("mnist1d")
    data = signals()
    return replace(task, name="batch4", batches=Shuffled(data[0], data[1], 4), steps=1000)


def words() -> Task:
    """Two words before to the next one: 1,500 sparse embeddings and a softmax over them."""
    pieces = frozen.text("python_help.txt").split()
    counts: dict[str, int] = {}
    for piece in pieces:
        counts[piece] = counts.get(piece, 0) + 1
    known = {w: i + 1 for i, w in enumerate(sorted(counts, key=lambda w: (-counts[w], w))[:1499])}
    tokens = torch.tensor([known.get(w, 0) for w in pieces])
    cut = int(len(tokens) * 0.9)

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Embedding(1500, 24), nn.Flatten(), nn.Linear(48, 64), nn.Tanh(), nn.Linear(64, 1500)
        )

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(model(batch[0][:, :2]), batch[0][:, 2])

    held_out = OnBatch(loss, stretches(tokens[cut:], 2, 1000))
    return Task("words", make, Windows(tokens[:cut], 48, 2), loss, held_out, 600)


def small_text(layers: int = 2, post: bool = False) -> Callable[[], nn.Module]:
    letters = text()[2]
    return lambda: Characters(letters, 48, 4, layers, 32, post)


def on_text(name: str, make: Callable[[], nn.Module], steps: int, shift: int = 0, size: int = 8) -> Task:
    train, held, _ = text(shift)
    return Task(
        name, make, Windows(train, size, 32), following, OnBatch(following, stretches(held, 32, 128)), steps
    )


@cache
def pretrained() -> Pretrained:
    return Pretrained(small_text(), Windows(text()[0], 16, 32), following, 500, 1e-2)


def adapters() -> Task:
    """Rank-4 adapters on a pretrained character transformer, on text with every letter renamed."""
    made = replace(pretrained(), change=lambda model: adapted(model, 4))
    return on_text("adapters", made, 300, shift=1)


def fine_tune() -> Task:
    """All weights of the pretrained transformer, on text with every letter renamed."""
    return on_text("fine-tune", pretrained(), 300, shift=1)


def warm_start() -> Task:
    """All weights of the pretrained transformer, on the same text: there is little left to gain."""
    return on_text("warm-start", pretrained(), 300)


def recurrent() -> Task:
    return classifier("recurrent", lambda: Recurrent(nn.GRU, 4, 48, 10), signals(), 32, 500)


def plateau() -> Task:
    """Five layers of sigmoids at torch's start: the loss stays flat until the signal gets through."""

    def make() -> nn.Module:
        layers: list[nn.Module] = [nn.Linear(64, 48), nn.Sigmoid()]
        for _ in range(3):
            layers += [nn.Linear(48, 48), nn.Sigmoid()]
        return nn.Sequential(*layers, nn.Linear(48, 10))

    return classifier("plateau", make, digits(), 32, 800)


def short() -> Task:
    return classifier("short", perceptron, digits(), 32, 100)


def short_text() -> Task:
    return on_text("short-text", small_text(), 150)


def label_noise() -> Task:
    """Four tenths of the training labels are random."""
    x, y, test_x, test_y = digits()
    source = torch.Generator().manual_seed(5)
    wrong = torch.rand(len(y), generator=source) < 0.4
    y = torch.where(wrong, torch.randint(10, y.shape, generator=source), y)
    return classifier("label-noise", perceptron, (x, y, test_x, test_y), 32, 400)


def post_norm() -> Task:
    return on_text("post-norm", small_text(layers=5, post=True), 300)


def normalised() -> Task:
    """Convolutions with batch norm, whose weights' scale does not matter to the function."""

    def make() -> nn.Module:
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 40))]
        for before in (1, 16, 16):
            layers += [nn.Conv1d(before, 16, 3, 2, 1, bias=False), nn.BatchNorm1d(16), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(80, 10))

    return classifier("batch-norm", make, signals(), 64, 500)


def rescaled(factor: float) -> Callable[[], Task]:
    return lambda: classifier(
        f"rescaled-{factor:g}", lambda: Rescaled(perceptron(), factor), digits(), 32, 400
    )


def gpt() -> Task:
    """1.27 M parameters, 900 steps of characters."""
    train, held, letters = text()
    make = lambda: Characters(letters, 160, 5, 4, 96)  # noqa: E731
    return Task(
        "gpt", make, Windows(train, 8, 96), following, OnBatch(following, stretches(held, 96, 64)), 900
    )


def small_gpt() -> Task:
    """0.46 M parameters, 600 steps: what the large one lacks, in a quarter of its time; for sweeps alone."""
    train, held, letters = text()
    make = lambda: Characters(letters, 96, 4, 4, 64)  # noqa: E731
    batches, held_out = Windows(train, 8, 64), OnBatch(following, stretches(held, 64, 96))
    return Task("small-gpt", make, batches, following, held_out, 600)


BUNDLED = ("digits", "diabetes", "breast-cancer", "noisy-quadratic", "digits-autoencoder", "mnist1d")
STEPS = {"digits": 400, "breast-cancer": 500, "digits-autoencoder": 1000}
"""The budgets that the records were made with, where the bundled tasks' own have grown since."""


def bundled(name: str) -> Task:
    task = tasks.load(name)
    return replace(task, steps=STEPS.get(name, task.steps))


WORKLOADS: dict[str, Callable[[], Task]] = {n: (lambda n=n: bundled(n)) for n in BUNDLED} | {
    "batch1": batch1, "batch4": batch4, "words": words, "adapters": adapters, "fine-tune": fine_tune,
    "warm-start": warm_start, "recurrent": recurrent, "plateau": plateau, "short": short,
    "short-text": short_text, "label-noise": label_noise, "batch-norm": normalised, "post-norm": post_norm,
    "text": lambda: tasks.load("text"),
}  # fmt: skip
SCALES = {f"rescaled-{f:g}": rescaled(f) for f in (1e-2, 1e-1, 1.0, 1e1, 1e2)}
LARGE = {"gpt": gpt}
SWEPT = {"small-gpt": small_gpt}

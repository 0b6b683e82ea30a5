import subprocess
import sys
from pathlib import Path

import pytest

BOWL = """
import torch
from accelerando.compare import Task

SCALES = torch.logspace(0, 1.5, 10)


class Bowl(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.randn(10))


def batches(seed):
    stream = torch.Generator().manual_seed(seed)
    while True:
        yield (0.1 * torch.randn(10, generator=stream),)


def loss(model, batch):
    return (SCALES * (model.place - batch[0]).square()).sum()


def evaluate(model):
    return {"loss": float((SCALES * model.place.square()).sum())}


def task():
    return Task("bowl", Bowl, batches, loss, evaluate, steps=40)
"""


@pytest.fixture
def bowl(tmp_path) -> Path:
    """A user's task file: a noisy quadratic bowl, 40 updates."""
    path = tmp_path / "bowl.py"
    path.write_text(BOWL)
    return path


@pytest.fixture
def written(tmp_path):
    """Writes a variant of the bowl: its text with replacements, under its own name."""
    made = iter(range(100))

    def write(*replacements: tuple[str, str]) -> Path:
        text = BOWL
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"variant{next(made)}.py"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def accelerando(tmp_path):
    """Runs the command line in a process of its own."""

    def run(*words: object, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from accelerando.cli import main; main()", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, **options)

    return run

"""Every world size is run once; the tests look at what its ranks wrote down."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
WORLDS = (4, 2, 1)
"""In this order: the first saves the checkpoint that the others load."""


def run(world, folder):
    """Run all cases on ``world`` ranks; what each of them found."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    logs = [folder / f"log-{world}-{rank}" for rank in range(world)]
    children = []
    for rank, log in enumerate(logs):
        with log.open("w") as out:
            command = [sys.executable, str(HERE / "worker.py"), str(rank), str(world), str(folder)]
            children.append(subprocess.Popen(command, stdout=out, stderr=out, env=environment))
    codes = [child.wait(300) for child in children]
    assert codes == [0] * world, "\n".join(log.read_text()[-2000:] for log in logs)
    return [torch.load(folder / f"{world}-{rank}.pt", weights_only=False) for rank in range(world)]


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """World size → rank → case → what came out."""
    torch.distributed.is_available() or pytest.skip("this torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("ranks")
    return {world: run(world, folder) for world in WORLDS}

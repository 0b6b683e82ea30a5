"""Making the executor that was asked for."""

import os
from pathlib import Path

from accelerando.compare.executor import Executor
from accelerando.compare.spec import Spec

PER_ACCELERATOR = 2
"""Trials that share one accelerator, unless ``workers`` says otherwise."""


def make(spec: Spec, device: str, folder: Path) -> Executor:
    """The executor for a spec, ready for jobs.

    Args:
        spec: Says which, and how many workers.
        device: The experiment's kind of device.
        folder: Of the records; what the user's code prints goes to ``log`` in it.
    """
    accelerators = _accelerators(device)
    workers = spec.workers or min(cores(), PER_ACCELERATOR * accelerators or cores())
    if spec.executor == "ray":
        from accelerando.compare.ray import Ray

        return Ray(spec.workers, accelerators, PER_ACCELERATOR)
    from accelerando.compare.local import Local

    return Local(workers, folder / "log", accelerators if device == "cuda" else 0)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerators(device: str) -> int:
    if device == "cpu":
        return 0
    import torch

    return torch.cuda.device_count() if device == "cuda" else 1

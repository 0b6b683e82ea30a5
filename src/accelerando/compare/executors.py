"""Making the executor that was asked for, and planning on it while it starts."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from accelerando.compare.cores import cores
from accelerando.compare.executor import Executor
from accelerando.compare.records import Experiment
from accelerando.compare.spec import Spec

if TYPE_CHECKING:
    from accelerando.compare.local import Local

PER_ACCELERATOR = 2
"""Trials that share one accelerator, unless ``workers`` says otherwise."""


def early(spec: Spec) -> "Local | None":
    """Workers started before anything is planned, so that they import while it is; the caller closes them.

    None where another executor was asked for, or where the trials may run on an accelerator: how many
    workers share one is only known when torch has been asked.
    """
    if spec.executor != "local" or not (spec.device == "cpu" or (spec.device == "auto" and _bare())):
        return None
    from accelerando.compare.local import Local

    return Local(spec.workers or cores(), None)


def planned(spec: Spec, workers: "Local | None") -> tuple[Experiment, str]:
    """The experiment, and the reference that finds its task again: made in a worker, or here without any.

    Raises:
        SpecError: The spec cannot be meant.
        TaskError: Its task cannot be loaded.
    """
    if workers is not None:
        words = workers.plan(asdict(spec))
        return Experiment.from_json(words["experiment"]), words["reference"]
    from accelerando.compare import spec as specs
    from accelerando.compare.resolve import resolve

    resolved = resolve(spec.task)
    return specs.experiment(spec, resolved), resolved.reference


def make(spec: Spec, device: str, folder: Path, workers: "Local | None" = None) -> Executor:
    """The executor for a spec, ready for jobs.

    Args:
        spec: Says which, and how many workers.
        device: The experiment's kind of device.
        folder: Of the records; what the user's code prints goes to ``log`` in it.
        workers: Those started early; used where they are the right ones.
    """
    if workers is not None and device == "cpu":
        workers.log_to(folder / "log")
        return workers
    accelerators = _accelerators(device)
    if spec.executor == "ray":
        from accelerando.compare.ray import Ray

        return Ray(spec.workers, accelerators, PER_ACCELERATOR)
    from accelerando.compare.local import Local

    count = spec.workers or min(cores(), PER_ACCELERATOR * accelerators or cores())
    return Local(count, folder / "log", accelerators if device == "cuda" else 0)


def _bare() -> bool:
    """Whether this machine has certainly no accelerator that ``auto`` would take."""
    if sys.platform == "darwin":
        return True
    nodes = ("nvidia[0-9]*", "kfd", "dxg")
    return sys.platform == "linux" and not any(any(Path("/dev").glob(node)) for node in nodes)


def _accelerators(device: str) -> int:
    if device == "cpu":
        return 0
    import torch

    return torch.cuda.device_count() if device == "cuda" else 1

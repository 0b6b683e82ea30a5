"""``accelerando info``: versions, devices, and which backend runs what."""

import os
import platform
import sys
from importlib.metadata import version

import click


@click.command()
def command() -> None:
    """Print versions, devices, and which backend steps which parameters, and why."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = [
        ("accelerando", version("accelerando")),
        ("python", sys.version.split()[0]),
        ("torch", torch.__version__),
        ("platform", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        ("GPUs", ", ".join(gpus) or "none"),
        (
            "backend",
            "eager for every device and dtype: it is the specification, and the one backend there is",
        ),
        ("computes in", "float32; float64 for float64 parameters; state is kept in the same"),
    ]
    for name, value in rows:
        click.echo(f"{name:<13}{value}")

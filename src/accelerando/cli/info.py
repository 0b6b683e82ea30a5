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

    from accelerando.engine import cache
    from accelerando.engine.cpu import modules

    missing = modules.why_not()
    half = "bfloat16, float16" if missing is None and modules.has_float16() else "bfloat16"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows = [
        ("accelerando", version("accelerando")),
        ("python", sys.version.split()[0]),
        ("torch", torch.__version__),
        ("platform", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        ("GPUs", ", ".join(gpus) or "none"),
        ("numba", missing or version("numba")),
        (
            "cpu",
            f"not here: {missing}"
            if missing
            else f"dense CPU parameters of float32, float64, {half} and complex: compiled, one call a step",
        ),
        ("eager", "every other device, dtype and layout: plain tensor operations, the specification"),
        ("computes in", "float32; float64 for float64 parameters; state is kept in the same"),
        ("stores", "bfloat16, float16: nearest, or store='stochastic'; bfloat16: store='compensated'"),
        ("moments", "as computed, or state_dtype='bf16', stored stochastically"),
        ("kernels", f"{cache.directory()} ({cache.VARIABLE} sets it)"),
    ]
    for name, value in rows:
        click.echo(f"{name:<13}{value}")

"""Prodigy, D-Adaptation and Schedule-Free, ours beside the authors' packages, on three bundled tasks.

    python benchmarks/learning_rate_free/run.py [--out benchmarks/results]

Writes ``learning_rate_free.md``: how ``d`` rises, how far the trajectories lie apart, and what happens where the
packages break. Needs prodigyopt, dadaptation and schedulefree.
"""

import argparse
import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import dadaptation
import prodigyopt
import schedulefree
import torch

import accelerando
from accelerando.compare.task import Task
from accelerando.compare.tasks import load

TASKS = ("digits", "diabetes", "mnist1d")
STEPS = {"digits": 400}  # the record's, where a task's own budget has grown since
SEEDS = (0, 1, 2)
MARKS = (1, 5, 10, 20, 50, 100, 200)
PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Prodigy": (accelerando.Prodigy, prodigyopt.Prodigy),
    "DAdaptAdam": (accelerando.DAdaptAdam, dadaptation.DAdaptAdam),
    "ScheduleFreeAdamW": (accelerando.ScheduleFreeAdamW, schedulefree.AdamWScheduleFree),
}
NAN = float("nan")


def modes(model: torch.nn.Module, optimizer: Any, training: bool) -> None:
    """Put both into one mode."""
    for part in (model, optimizer):
        switch = getattr(part, "train" if training else "eval", None)
        if switch is not None:
            switch()


def run(
    task: Task, make: Callable[..., Any], seed: int = 0, *, steps: int | None = None,
    dtype: torch.dtype = torch.float32, groups: tuple[float, ...] = (), spoil: int | None = None,
) -> Iterator[tuple[torch.nn.Module, Any]]:  # fmt: skip
    """Train, and hand out model and optimizer after every step; ``spoil`` is a step whose gradient has a NaN."""
    torch.manual_seed(seed)
    model = task.model().to(dtype)
    params = list(model.parameters())
    optimizer = make(_split(params, groups) if groups else params)
    modes(model, optimizer, True)
    for k, batch in enumerate(islice(task.batches(seed), steps or task.steps)):
        optimizer.zero_grad()
        task.loss(model, tuple(t.to(dtype) if t.is_floating_point() else t for t in batch)).backward()
        if k == spoil:
            params[-1].grad.view(-1)[0] = NAN
        optimizer.step()
        yield model, optimizer


def _split(params: list[torch.Tensor], rates: tuple[float, ...]) -> list[dict[str, Any]]:
    half = len(params) // 2
    return [
        {"params": part, "lr": lr} for part, lr in zip((params[:half], params[half:]), rates, strict=True)
    ]


def last(steps: Iterator[tuple[torch.nn.Module, Any]]) -> tuple[torch.nn.Module, Any]:
    """The model and the optimizer at the end."""
    found = None
    for found in steps:  # noqa: B007
        pass
    assert found is not None
    return found


def held_out(task: Task, model: torch.nn.Module, optimizer: Any) -> float:
    """The held-out loss, in evaluation mode."""
    modes(model, optimizer, False)
    with torch.no_grad():
        return float(task.evaluate(model.float())["loss"])


def d_of(optimizer: Any) -> float:
    """The estimate."""
    return float(optimizer.param_groups[0]["d"])


def number(x: float) -> str:
    """Three digits."""
    return "NaN" if math.isnan(x) else f"{x:.3g}"


def rises(task: Task) -> list[str]:
    """``d`` at the marks, in float32, ours and theirs."""
    lines = []
    for name in ("Prodigy", "DAdaptAdam"):
        for label, make in zip(("ours", "theirs"), PAIRS[name], strict=True):
            seen = [d_of(optimizer) for _, optimizer in run(task, make)]
            row = [number(seen[m - 1]) for m in MARKS if m <= len(seen)] + [number(seen[-1])]
            lines.append(f"| {task.name} | {name} | {label} | " + " | ".join(row) + " |")
    return lines


def gaps(task: Task) -> list[str]:
    """How far the weights lie apart in float64, in units of the way come, at steps 10, 50 and 200."""
    lines = []
    for name, (ours, theirs) in PAIRS.items():
        for eps in (1e-8, 1e-16):
            found = {}
            left, right = (
                run(task, partial(make, eps=eps), steps=200, dtype=torch.float64) for make in (ours, theirs)
            )
            torch.manual_seed(0)
            start = torch.nn.utils.parameters_to_vector(task.model().double().parameters()).detach()
            for k, ((a, _), (b, _)) in enumerate(zip(left, right, strict=True), start=1):
                if k in (10, 50, 200):
                    x, y = (torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in (a, b))
                    found[k] = float((x - y).norm() / (y - start).norm())
            row = " | ".join(f"{found[k]:.1e}" for k in (10, 50, 200))
            lines.append(f"| {task.name} | {name} | {eps:g} | {row} |")
    return lines


def losses(task: Task) -> list[str]:
    """Held-out losses at default settings over the seeds."""
    lines = []
    for name, makes in PAIRS.items():
        row = []
        for make in makes:
            ends = [held_out(task, *last(run(task, make, seed))) for seed in SEEDS]
            row.append(f"{mean(ends):.4g} ± {stdev(ends):.2g}")
        lines.append(f"| {task.name} | {name} | {' | '.join(row)} |")
    return lines


def broken(task: Task, name: str) -> list[str]:
    """Cases that the package does not survive."""
    ours, theirs = PAIRS[name]
    cases: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        ("float32, as it comes", {}, {}, {}),
        ("bfloat16 weights", {}, {}, {"dtype": torch.bfloat16}),
        ("float16 weights", {}, {}, {"dtype": torch.float16}),
        ("d0 = 1e-10", {"d0": 1e-10}, {"d0": 1e-10}, {}),
        ("rates 1 and 0.1 in two groups", {}, {}, {"groups": (1.0, 0.1)}),
        ("a NaN gradient at step 30, `on_nonfinite='skip'`", {"on_nonfinite": "skip"}, {}, {"spoil": 30}),
    ]
    lines = []
    for label, mine, other, how in cases:
        row = []
        for make in (partial(ours, **mine), partial(theirs, **other)):
            try:
                model, optimizer = last(run(task, make, **how))
                row.append(f"{number(d_of(optimizer))}, {number(held_out(task, model, optimizer))}")
            except RuntimeError as error:
                row.append(f"{type(error).__name__}: {str(error)[:40]}…")
        lines.append(f"| {name} | {label} | {' | '.join(row)} |")
    return lines


def page() -> str:
    """The record."""
    tasks = [replace(task, steps=STEPS.get(task.name, task.steps)) for task in map(load, TASKS)]
    marks = " | ".join(f"step {m}" for m in MARKS)
    names = ("prodigyopt", "dadaptation", "schedulefree", "torch")
    lines = ["# Learning-rate-free methods, ours and the authors' packages", ""]
    lines += [
        "Written by `python benchmarks/learning_rate_free/run.py`; "
        + ", ".join(f"{n} {version(n)}" for n in names)
    ]
    lines[-1] += ", CPU, default settings unless it says otherwise."
    lines += ["", "## How d rises (float32, seed 0)", ""]
    lines += [f"| task | method | whose | {marks} | end |", "|---|---|---|" + "---|" * (len(MARKS) + 1)]
    lines += [line for task in tasks for line in rises(task)]
    lines += ["", "## How far apart (float64, seed 0)", ""]
    lines += ["Distance of the weights in units of the way that the package's have come.", ""]
    lines += ["| task | method | eps | step 10 | step 50 | step 200 |", "|---|---|---|---|---|---|"]
    lines += [line for task in tasks for line in gaps(task)]
    lines += ["", f"## Held-out loss (float32, seeds {SEEDS[0]}–{SEEDS[-1]}, mean ± deviation)", ""]
    lines += ["| task | method | ours | theirs |", "|---|---|---|---|"]
    lines += [line for task in tasks for line in losses(task)]
    lines += ["", "## Where the packages break (digits, seed 0: d at the end, held-out loss)", ""]
    lines += ["| method | case | ours | theirs |", "|---|---|---|---|"]
    lines += [line for name in ("Prodigy", "DAdaptAdam") for line in broken(tasks[0], name)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        text = page()
    (args.out / "learning_rate_free.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Training in bfloat16 under each store policy against float32: two bundled tasks, five seeds, AdamW.

Weights, gradients and activations are bfloat16 (``module.to(torch.bfloat16)``); the loss is taken of float32 logits.
Every arm starts from the same weights, sees the same batches and decays the same rate by a cosine to zero; rates are
not tuned per arm. Writes ``results/low_precision.json``, ``.md`` and ``.png`` beside this file; ``--report`` makes
the last two again from the first.

    OMP_NUM_THREADS=1 python -m benchmarks.low_precision [--report]
"""

import json
import math
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import accelerando
from accelerando.compare.task import Task
from accelerando.compare.tasks import load

RESULTS = Path(__file__).parent / "results"
SEEDS = range(5)
EVALUATIONS = 4


@dataclass(frozen=True)
class Setting:
    """A bundled task, a rate and a length."""

    task: str
    rate: float
    steps: int

    def __str__(self) -> str:
        return f"{self.task}, rate {self.rate:g}, {self.steps} steps"


SETTINGS = [Setting("digits", 1e-3, 400), Setting("digits", 1e-4, 400), Setting("text", 1e-3, 100)]


@dataclass(frozen=True)
class Arm:
    """One way of keeping weights and moments."""

    name: str
    dtype: torch.dtype = torch.bfloat16
    options: dict[str, Any] = field(default_factory=dict)


ARMS = [
    Arm("float32", torch.float32),
    Arm("nearest"),
    Arm("stochastic", options={"store": "stochastic"}),
    Arm("compensated", options={"store": "compensated"}),
    Arm("stochastic, bf16 state", options={"store": "stochastic", "state_dtype": "bf16"}),
    Arm("compensated, bf16 state", options={"store": "compensated", "state_dtype": "bf16"}),
]


class Cast(nn.Module):
    """A model in another dtype, fed and read in float32."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.dtype = inner.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.to(self.dtype) if x.is_floating_point() else x)
        return out.float()


def train(task: Task, arm: Arm, setting: Setting, seed: int) -> dict[str, Any]:
    """One run: held-out losses on the way, and the bytes that each parameter takes."""
    torch.manual_seed(seed)
    model = Cast(task.model(), arm.dtype)
    optimizer = accelerando.AdamW(model.parameters(), lr=setting.rate, **arm.options)
    optimizer.param_groups[0]["store_seed"] = seed
    batches = iter(task.batches(seed))
    curve = []
    for step in range(1, setting.steps + 1):
        factor = (1 + math.cos(math.pi * (step - 1) / setting.steps)) / 2
        optimizer.param_groups[0]["lr"] = setting.rate * factor
        optimizer.zero_grad()
        task.loss(model, next(batches)).backward()
        optimizer.step()
        if step % (setting.steps // EVALUATIONS) == 0:
            curve.append((step, dict(task.evaluate(model))))
    return {
        "setting": str(setting), "arm": arm.name, "seed": seed, "curve": curve,
        "bytes": bytes_per_parameter(model, optimizer),
    }  # fmt: skip


def bytes_per_parameter(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """What weights, gradients and state take, over the number of parameters."""
    params = list(model.parameters())
    count = sum(p.numel() for p in params)
    kept = [v for p in params for v in optimizer.state[p].values() if v.ndim]
    parts = {"weights": params, "gradients": [p.grad for p in params if p.grad is not None], "state": kept}
    return {name: sum(t.numel() * t.element_size() for t in ts) / count for name, ts in parts.items()}


def losses(runs: list[dict[str, Any]], setting: Setting, arm: str) -> list[float]:
    """Final held-out losses, seed by seed."""
    return [r["curve"][-1][1]["loss"] for r in runs if (r["setting"], r["arm"]) == (str(setting), arm)]


def report(record: dict[str, Any]) -> str:
    """The table in Markdown."""
    runs, lines = record["runs"], ["# Training in bfloat16, by store policy", ""]
    lines += [
        f"AdamW, cosine to zero, {len(SEEDS)} seeds, one thread, {record['machine']}, "
        f"torch {record['torch']}. Made by `python -m benchmarks.low_precision`.", "",
        "Held-out loss at the end: mean over seeds; in brackets, the mean difference from float32 at the same seed "
        "± its standard error. Rates and lengths are not tuned: the second and third column end far from "
        "convergence. Bytes per parameter: weights + gradients + state.", "",
    ]  # fmt: skip
    lines.append("| arm | bytes | " + " | ".join(map(str, SETTINGS)) + " |")
    lines.append("|---|---|" + "---|" * len(SETTINGS))
    for arm in ARMS:
        size = next(r["bytes"] for r in runs if r["arm"] == arm.name)
        cells = [f"{size['weights']:g} + {size['gradients']:g} + {size['state']:g} = {sum(size.values()):g}"]
        for setting in SETTINGS:
            mine, base = losses(runs, setting, arm.name), losses(runs, setting, "float32")
            apart = [a - b for a, b in zip(mine, base, strict=True)]
            error = statistics.stdev(apart) / len(apart) ** 0.5
            beside = "" if arm.name == "float32" else f" ({statistics.mean(apart):+.4f} ± {error:.4f})"
            cells.append(f"{statistics.mean(mine):.4f}{beside}")
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "![Held-out loss by store policy](low_precision.png)", ""])


def draw(record: dict[str, Any]) -> None:
    """Final losses over those of float32, one panel for each task and rate, one dot for each seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(SETTINGS), figsize=(13, 3.6), sharey=True, layout="constrained")
    for panel, setting in zip(panels, SETTINGS, strict=True):
        base = losses(record["runs"], setting, "float32")
        for row, arm in enumerate(ARMS):
            mine = losses(record["runs"], setting, arm.name)
            excess = [100 * (a / b - 1) for a, b in zip(mine, base, strict=True)]
            panel.plot(excess, [row] * len(excess), "o", color=f"C{row}", alpha=0.6, markersize=6)
            panel.plot(statistics.mean(excess), row, "|", color="black", markersize=16)
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set_title(str(setting), fontsize=10)
        panel.set_xlabel("held-out loss over float32, %")
        panel.grid(axis="x", alpha=0.3)
    sizes = {
        a.name: sum(next(r["bytes"] for r in record["runs"] if r["arm"] == a.name).values()) for a in ARMS
    }
    panels[0].set_yticks(range(len(ARMS)), [f"{a.name}\n{sizes[a.name]:g} bytes" for a in ARMS], fontsize=9)
    panels[0].invert_yaxis()
    figure.savefig(RESULTS / "low_precision.png", dpi=120)


def main() -> None:
    place = RESULTS / "low_precision.json"
    if "--report" not in sys.argv[1:]:
        began = time.perf_counter()
        runs = [
            train(load(setting.task), arm, setting, seed)
            for setting in SETTINGS
            for arm in ARMS
            for seed in SEEDS
        ]
        record = {
            "runs": runs,
            "seconds": time.perf_counter() - began,
            "torch": torch.__version__,
            "machine": platform.machine(),
        }
        place.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    record = json.loads(place.read_text(encoding="utf-8"))
    (RESULTS / "low_precision.md").write_text(report(record), encoding="utf-8")
    draw(record)
    print(report(record))


if __name__ == "__main__":
    main()

"""Draw what three common schedules do, before they do it: ``python benchmarks/schedules/previews.py``."""

import warnings
from pathlib import Path

import torch

from accelerando.schedules import CosineAnnealingLR, CyclicLR, OneCycleLR, ScheduledLR, cosine, warmup

RESULTS = Path(__file__).parents[1] / "results" / "schedules"


def adamw():
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3, betas=(0.95, 0.999))


def main():
    RESULTS.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    composed = warmup(2000) >> cosine(18_000, final=0.1)
    cyclic = CyclicLR(adamw(), base_lr=1e-5, max_lr=1e-3, step_size_up=2000, cycle_momentum=True)
    past = CosineAnnealingLR(adamw(), T_max=1000)
    restarts = ScheduledLR(adamw(), warmup(500) >> cosine(1500).repeat(3))
    cycle = OneCycleLR(adamw(), 1e-3, total_steps=3000)
    shown = {
        "warmup-cosine": (composed.preview(lr=1e-3), composed),
        "cyclic-adamw": (cyclic.preview(10_000), cyclic.describe(10_000)),
        "cosine-past-its-end": (past.preview(2500), past.describe(2500)),
        "restarts": (restarts.preview(), restarts.describe()),
        "one-cycle": (cycle.preview(), cycle.describe()),
    }
    parts = ["# What schedules will do", "", "Written by `python benchmarks/schedules/previews.py`.", ""]
    for name, (preview, description) in shown.items():
        preview.save(RESULTS / f"preview-{name}.png")
        parts += [f"## {name}", "", f"![{name}](preview-{name}.png)", ""]
        parts += ["```text", str(preview), "```", "", "```text", str(description), "```", ""]
    (RESULTS / "previews.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


if __name__ == "__main__":
    main()

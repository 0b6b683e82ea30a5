"""The guarded raise on the bundled tasks: ``python benchmarks/schedules/raise.py [TASK …]``.

AdamW begins at 1e-5. Three strategies: that rate as it is, the same under `RaiseOnProgress`, and the best of
a grid of fixed rates (chosen on its own seeds, reported on fresh ones). Same weights and batches for a seed.
"""

import json
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from accelerando.compare import tasks
from accelerando.schedules import RaiseOnProgress

RESULTS = Path(__file__).parents[1] / "results" / "schedules"
BUNDLED = ("digits", "mnist1d", "breast-cancer", "diabetes", "text")
STEPS = {"digits": 400, "breast-cancer": 500}  # the record's, where the tasks' own have grown since
START, GRID = 1e-5, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TUNE, FRESH = (100, 101), (0, 1, 2, 3, 4)
LONGER = 4
"""The raise is also given this many times the task's steps, to see whether it only needs time."""


def train(task, seed, rate, steps, raising=False):
    torch.manual_seed(seed)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    scheduler = RaiseOnProgress(optimizer) if raising else None
    rates = []
    for _, batch in zip(range(steps), task.batches(seed), strict=False):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step(loss.detach())
    model.eval()
    found = {"loss": float(task.evaluate(model)["loss"]), "rates": rates}
    return found | {"events": scheduler.events} if scheduler is not None else found


def losses(task, seeds, *arguments, **options):
    return [train(task, seed, *arguments, **options)["loss"] for seed in seeds]


def study(name):
    task, began = tasks.load(name), time.perf_counter()
    task = replace(task, steps=STEPS.get(name, task.steps))
    tuned = {rate: float(np.mean(losses(task, TUNE, rate, task.steps))) for rate in GRID}
    good = min(tuned, key=lambda rate: tuned[rate] if np.isfinite(tuned[rate]) else np.inf)
    raised = [train(task, seed, START, task.steps, raising=True) for seed in FRESH]
    longer = [train(task, seed, START, LONGER * task.steps, raising=True) for seed in FRESH]
    record = {
        "task": name,
        "steps": task.steps,
        "untrained": losses(task, FRESH, START, 0),
        "nothing": losses(task, FRESH, START, task.steps),
        "raise": [one["loss"] for one in raised],
        "raise, longer": [one["loss"] for one in longer],
        "good": losses(task, FRESH, good, task.steps),
        "good rate": good,
        "tuned": tuned,
        "final rates": [one["rates"][-1] for one in raised],
        "final rates, longer": [one["rates"][-1] for one in longer],
        "events": [one["events"] for one in longer],
        "rates, longer": [one["rates"][:: max(1, task.steps // 100)] for one in longer],
    }
    print(f"{name}: {time.perf_counter() - began:.0f} s", summary(record), sep="\n", flush=True)
    return record


def summary(record):
    def show(values):
        return f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}"

    def span(values):
        return f"{min(values):.1e} – {max(values):.1e}"

    return (
        f"| {record['task']} | {record['steps']} | {show(record['untrained'])} | {show(record['nothing'])} | "
        f"{show(record['raise'])} | {span(record['final rates'])} | {show(record['raise, longer'])} | "
        f"{span(record['final rates, longer'])} | {show(record['good'])} | {record['good rate']:g} |"
    )


def draw(records):
    figure = Figure(figsize=(3.2 * len(records), 3.4), layout="constrained")
    for axes, record in zip(figure.subplots(1, len(records), squeeze=False)[0], records, strict=True):
        for rates in record["rates, longer"]:
            steps = np.linspace(0, LONGER * record["steps"], len(rates))
            axes.semilogy(steps, rates, color="#d1495b", linewidth=1, alpha=0.7)
        axes.axhline(record["good rate"], color="#00798c", linestyle="--", linewidth=1)
        axes.axvline(record["steps"], color="#8d99ae", linestyle=":", linewidth=1)
        axes.set(title=record["task"], xlabel="step", ylim=(5e-6, 1e-1))
    figure.axes[0].set_ylabel("learning rate")
    figure.suptitle(
        "five seeds of the raise; dashed: the good fixed rate; dotted: the task's own steps", fontsize=9
    )
    figure.savefig(RESULTS / "raise.png", dpi=150)


HEAD = """# The guarded raise on the bundled tasks

Written by `python benchmarks/schedules/raise.py`. Held-out loss, mean ± standard deviation over seeds 0–4
(lower is better). AdamW starts at 1e-5: left alone, and under `RaiseOnProgress` with its defaults (window 32,
growth 4) for the task's steps and for four times as many. The good fixed rate is the best of 1e-4 … 3e-2 on
seeds 100 and 101, for the task's steps. The defaults of the raise were chosen on seeds 100–102 of digits,
breast-cancer, diabetes and mnist1d; text had no part in that.

| task | steps | untrained | nothing | raise | last rate | raise, 4× | last rate | good | rate |
|---|---|---|---|---|---|---|---|---|---|
"""


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    records = [study(name) for name in sys.argv[1:] or BUNDLED]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "raise.json").write_text(json.dumps(records) + "\n", encoding="utf-8")
    table = HEAD + "\n".join(map(summary, records)) + "\n\n![rates over time](raise.png)\n"
    (RESULTS / "raise.md").write_text(table, encoding="utf-8")
    draw(records)


if __name__ == "__main__":
    main()

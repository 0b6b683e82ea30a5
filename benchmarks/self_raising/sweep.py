"""Sweep one constant at a time: ``python benchmarks/self_raising/sweep.py NAME=VALUE[,NAME=VALUE] … [--on NAME …]``.

Each variant is one of the flat method; ``base`` is the one that is shipped. Runs go to ``sweep.jsonl``. Where a
workload was not tuned, held-out losses are told instead of the excess.
"""

import argparse
import json
import statistics
from dataclasses import fields, replace

import torch
from development import LARGE, SWEPT, WORKLOADS
from flat import Constants, Flat
from methods import train
from run import FRESH, RESULTS, Runs

SEEDS = (0, 1)
START = 1e-6


def variant(text: str) -> Constants:
    if text == "base":
        return Constants()
    kinds = {f.name: f.type for f in fields(Constants)}
    turned = {}
    for part in text.split(","):
        name, value = part.split("=")
        turned[name] = (
            value if kinds[name] is str else value == "True" if kinds[name] is bool else float(value)
        )
    return replace(Constants(), **turned)


def excess(runs: Runs, workload: str, losses: list[float]) -> float | None:
    """Per cent of the way that a mean loss falls short of the tuned one's; None where that is unknown."""
    lines = [r for (w, _, _, s), r in runs.known.items() if w == workload and s in (100, 101)]
    if not lines:
        return None
    method, lr = runs.best(workload)
    tuned = runs.mean(workload, method, lr, SEEDS)
    initial = statistics.mean(runs.get(workload, method, lr, s)["initial"] for s in SEEDS)
    return 100 * (statistics.mean(losses) - tuned) / (initial - tuned)


def run(found: Runs, name: str, text: str, seed: int) -> float:
    """The held-out loss of a variant, from ``sweep.jsonl`` or made now."""
    key = (name, text, START, seed)
    if key not in found.known:
        constants = variant(text)
        task = (WORKLOADS | LARGE | SWEPT)[name]()
        made = train(task, lambda m, s, lr: Flat(m, s, lr, constants), seed, START)
        line = {"workload": name, "method": text, "lr": START, "seed": seed, **made}
        with found.file.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
        found.known[key] = line
    return found.known[key]["held_out"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--on", nargs="+", default=[], choices=[*WORKLOADS, *LARGE, *SWEPT])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    baseline, found = Runs(RESULTS / "runs.jsonl"), Runs(RESULTS / "sweep.jsonl")
    tuned = [n for n in WORKLOADS if any(w == n and s in FRESH for w, _, _, s in baseline.known)]
    for text in chosen.variants:
        row, told = {}, []
        for name in chosen.on or tuned:
            losses = [run(found, name, text, s) for s in (SEEDS if name in WORKLOADS else SEEDS[:1])]
            value = excess(baseline, name, losses) if name in tuned else None
            if value is not None:
                row[name] = min(100.0, value)
            told.append(f"{name} {statistics.mean(losses):.4f}" if value is None else f"{name} {value:.1f}")
        values = sorted(row.values()) or [float("nan")]
        print(
            f"{text:28} mean {statistics.mean(values):6.2f} median {statistics.median(values):6.2f} "
            f"worst {values[-1]:6.1f} | " + " ".join(told),
            flush=True,
        )


if __name__ == "__main__":
    main()

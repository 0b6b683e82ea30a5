"""Sweep one constant at a time: ``python benchmarks/self_raising/sweep.py NAME=VALUE[,NAME=VALUE] …``.

Each argument is a variant of the flat method; ``base`` is the one that is shipped. Runs go to ``sweep.jsonl``.
"""

import json
import statistics
import sys
from dataclasses import fields, replace

import torch
from development import WORKLOADS
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


def main() -> None:
    torch.set_num_threads(1)
    baseline, found = Runs(RESULTS / "runs.jsonl"), Runs(RESULTS / "sweep.jsonl")
    names = [
        n for n in WORKLOADS if any(w == n and s in FRESH for w, _, _, s in baseline.known)
    ]  # tuned already
    rows = {}
    for text in sys.argv[1:]:
        constants, row = variant(text), {}
        for name in names:
            losses = []
            for seed in SEEDS:
                key = (name, text, START, seed)
                if key not in found.known:
                    made = train(
                        WORKLOADS[name](), lambda m, s, lr, c=constants: Flat(m, s, lr, c), seed, START
                    )
                    line = {"workload": name, "method": text, "lr": START, "seed": seed, **made}
                    with found.file.open("a", encoding="utf-8") as f:
                        f.write(json.dumps(line) + "\n")
                    found.known[key] = line
                losses.append(found.known[key]["held_out"])
            row[name] = excess(baseline, name, losses)
        rows[text] = row
        values = sorted(min(100.0, v) for v in row.values())
        print(
            f"{text:28} mean {statistics.mean(values):6.2f} median {statistics.median(values):6.2f} "
            f"worst {values[-1]:6.1f} | " + " ".join(f"{n[:9]} {v:.1f}" for n, v in row.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()

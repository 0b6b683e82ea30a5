"""Run what is missing: ``python benchmarks/self_raising/run.py STAGE [STAGE …]``.

Every run is a line of ``runs.jsonl``; a run that is there is not repeated, so the script may be stopped at any
time. Stages: ``tune`` (the AdamW grid, the winner on fresh seeds), ``peers``, ``own``, ``starts`` (the peers from
every start), ``endless`` (ours that is not told when the run ends), and the same with a suffix or prefix for the
rescaled, the large and the locked workloads.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from development import LARGE, SCALES, WORKLOADS
from locked import WORKLOADS as LOCKED
from methods import METHODS, train

RESULTS = Path(__file__).parents[1] / "results" / "self_raising"
GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
TUNING, FRESH = (100, 101), (0, 1, 2)
STARTS = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)
FIRST = "adamw w5 cosine"
OTHERS = ("adamw w5 linear", "adamw w25 cosine", "adamw w25 linear", "adamw w25 linear .99")
BLIND = (1e-3, 3e-3, 1e-2)
FINE = (1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3, 1.4e-3, 2e-3, 3e-3, 5e-3, 1e-2)
"""The grid of the large ones, which have one tuning seed, two fresh ones, and the other schedules at six rates."""
ALL: dict[str, Callable[[], Any]] = WORKLOADS | SCALES | LARGE | LOCKED

Key = tuple[str, str, float, int]


def grid(workload: str) -> tuple[float, ...]:
    return FINE if workload in LARGE else GRID


def tuning(workload: str) -> tuple[int, ...]:
    return TUNING[:1] if workload in LARGE or workload in LOCKED else TUNING


def fresh(workload: str) -> tuple[int, ...]:
    return FRESH[:2] if workload in LARGE or workload in LOCKED else FRESH


class Runs:
    """The lines of ``runs.jsonl`` by workload, method, rate and seed."""

    def __init__(self, file: Path) -> None:
        self.file, self.known = file, {}
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self.known[row["workload"], row["method"], row["lr"], row["seed"]] = row

    def get(self, workload: str, method: str, lr: float, seed: int) -> dict[str, Any]:
        """The run, made now if it is missing."""
        key: Key = (workload, method, lr, seed)
        if key not in self.known:
            found = train(ALL[workload](), METHODS[method], seed, lr)
            row = {"workload": workload, "method": method, "lr": lr, "seed": seed, **found}
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")
            self.known[key] = row
        return self.known[key]

    def mean(self, workload: str, method: str, lr: float, seeds: Iterable[int]) -> float:
        values = [self.get(workload, method, lr, s)["held_out"] for s in seeds]
        mean = sum(values) / len(values)
        return mean if math.isfinite(mean) else math.inf

    def ranked(self, workload: str) -> list[float]:
        """The grid's rates, best first, on the tuning seeds."""
        return sorted(grid(workload), key=lambda lr: self.mean(workload, FIRST, lr, tuning(workload)))

    def best(self, workload: str) -> tuple[str, float]:
        """The tuned setting: every schedule at the three best rates of the first, on the tuning seeds."""
        tried = [(FIRST, lr) for lr in grid(workload)]
        near = 6 if workload in LARGE else 1 if workload in LOCKED else 3
        tried += [(m, lr) for lr in self.ranked(workload)[:near] for m in OTHERS]
        return min(tried, key=lambda s: self.mean(workload, *s, tuning(workload)))


def tune(runs: Runs, workloads: Iterable[str]) -> None:
    for workload in workloads:
        method, lr = runs.best(workload)
        print(
            f"{workload}: {method} at {lr:g}, {runs.mean(workload, method, lr, fresh(workload)):.5g}",
            flush=True,
        )


PEERS = (
    *((FIRST, lr) for lr in BLIND), ("PJ", 0.0), ("prodigy", 1e-6), ("prodigy safe", 1e-6), ("d-adaptation", 1e-6),
    ("schedule-free", 2.5e-3), ("schedule-free", 1e-2), ("AGREE", 1e-6),
)  # fmt: skip


def peers(runs: Runs, workloads: Iterable[str]) -> None:
    for seed in FRESH:
        for workload in workloads:
            for setting in PEERS if seed in fresh(workload) else ():
                runs.get(workload, *setting, seed)


def own(runs: Runs, workloads: Iterable[str]) -> None:
    """From the default start, then from the others."""
    for lr in (1e-6, 1.0, 1e-8, 1e-4, 1e-2):
        for seed in FRESH:
            for workload in workloads:
                if seed in fresh(workload):
                    runs.get(workload, "accelerando", lr, seed)


def endless(runs: Runs, workloads: Iterable[str]) -> None:
    """Ours that is not told when the run ends."""
    for seed in FRESH:
        for workload in workloads:
            if seed in fresh(workload):
                runs.get(workload, "endless", 1e-6, seed)


def starts(runs: Runs, workloads: Iterable[str]) -> None:
    """The competitors from every start rate, one seed."""
    for workload in workloads:
        for lr in STARTS:
            for method in ("prodigy", "d-adaptation", "schedule-free"):
                runs.get(workload, method, lr, FRESH[0])


STAGES: dict[str, tuple[Callable[[Runs, Iterable[str]], None], Iterable[str]]] = {
    "tune": (tune, WORKLOADS), "peers": (peers, WORKLOADS), "own": (own, WORKLOADS), "starts": (starts, WORKLOADS),
    "tune-scale": (tune, SCALES), "own-scale": (own, SCALES), "tune-gpt": (tune, LARGE), "peers-gpt": (peers, LARGE),
    "own-gpt": (own, LARGE), "endless": (endless, WORKLOADS | LARGE),
    "locked-tune": (tune, LOCKED), "locked-peers": (peers, LOCKED), "locked": (own, LOCKED),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--file", type=Path, default=RESULTS / "runs.jsonl")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    runs = Runs(chosen.file)
    for stage in chosen.stages:
        work, workloads = STAGES[stage]
        work(runs, workloads)


if __name__ == "__main__":
    sys.exit(main())

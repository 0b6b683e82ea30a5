"""What to evaluate where the end of a run is not known: ``python benchmarks/self_raising/averaging.py``.

One run of the flat method without ``total_steps`` keeps many averages beside its weights, which change nothing in
training, and evaluates each at the workload's last step. Excess % is against AdamW tuned for exactly that many steps.
``--shape`` turns what the rate does after the rise; ``--on`` names workloads. Lines go to ``averaging.jsonl``.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import torch
from development import SWEPT, WORKLOADS
from flat import Constants, Flat
from run import RESULTS, Runs
from sweep import SEEDS, START, excess

POWERS = (0, 2, 4, 8, 16, 32)
SHAPES = ("root", "held", "fourth", "inverse")


class Endless(Flat):
    """The flat method that is not told the end, with averages of its weights since the probe."""

    def __init__(self, model: torch.nn.Module, lr: float, shape: str, goal: float) -> None:
        super().__init__(model, math.inf, lr, Constants(goal=goal))  # type: ignore[arg-type]
        self.shape = shape
        self.averages = {f"t^{n}": self.p.clone() for n in POWERS} | {"rate² t²": self.p.clone()}
        self.total = 0.0

    def end_probe(self, age: int) -> None:
        super().end_probe(age)
        self.risen = age + max(40, 2 * age)

    def planned(self, age: int) -> float:
        if age < self.risen:
            return self.goal * (age - self.crossed) / (self.risen - self.crossed)
        left = 3 * self.risen / (2 * self.risen + age)
        return self.goal * {"root": left**0.5, "held": 1.0, "fourth": left**0.25, "inverse": left}[self.shape]

    def step(self, loss: float) -> None:
        super().step(loss)
        k = self.t - self.crossed if self.crossed else 0
        for n in POWERS:
            self.averages[f"t^{n}"].lerp_(self.p, (n + 1) / (k + n) if k > 0 else 1.0)
        weight = (self.rate * k) ** 2
        self.total = self.total + weight
        self.averages["rate² t²"].lerp_(self.p, weight / self.total if weight else 1.0)


def run(task: Any, seed: int, shape: str, goal: float) -> dict[str, float]:
    """Held-out losses of the weights and of every average."""
    torch.manual_seed(seed)
    model = task.model()
    method = Endless(model, START, shape, goal)
    for _, batch in zip(range(task.steps), task.batches(seed), strict=False):
        model.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        method.step(float(loss.detach()))
    losses = {"last": float(task.evaluate(model)["loss"])}
    for name, average in method.averages.items():
        method.p.copy_(average)
        losses[name] = float(task.evaluate(model)["loss"])
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--goal", nargs="+", type=float, default=[2.0])
    parser.add_argument("--on", nargs="+", default=[], choices=[*WORKLOADS, *SWEPT])
    parser.add_argument("--file", type=Path, default=RESULTS / "averaging.jsonl")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    baseline = Runs(RESULTS / "runs.jsonl")
    found = {}
    if chosen.file.exists():
        for line in chosen.file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row["workload"], row["shape"], row["goal"], row["seed"]] = row["losses"]
    for shape in chosen.shape:
        for goal in chosen.goal:
            rows: dict[str, dict[str, float]] = {}
            for name in chosen.on or WORKLOADS:
                made = []
                for seed in SEEDS:
                    key = (name, shape, goal, seed)
                    if key not in found:
                        found[key] = run((WORKLOADS | SWEPT)[name](), seed, shape, goal)
                        line = {"workload": name, "shape": shape, "goal": goal, "seed": seed}
                        with chosen.file.open("a", encoding="utf-8") as f:
                            f.write(json.dumps(line | {"losses": found[key]}) + "\n")
                    made.append(found[key])
                for average in made[0]:
                    value = excess(baseline, name, [m[average] for m in made])
                    if value is not None:
                        rows.setdefault(average, {})[name] = min(100.0, value)
            for average, row in rows.items():
                values = sorted(row.values())
                print(
                    f"{shape:8} goal {goal:g} {average:9} mean {statistics.mean(values):6.2f} "
                    f"median {statistics.median(values):6.2f} worst {values[-1]:6.1f} | "
                    + " ".join(f"{n} {v:.1f}" for n, v in row.items()),
                    flush=True,
                )


if __name__ == "__main__":
    main()

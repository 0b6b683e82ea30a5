"""Plateau × warm-up × cyclic on a noisy metric: ``python benchmarks/schedules/plateau.py``.

The metric is the loss of a noisy quadratic trained by SGD at the scheduled rate, so a cut matters: its noise
floor is proportional to the rate. torch's three schedulers are run beside ours on the same noise.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.optim import lr_scheduler as theirs

from accelerando import schedules as ours

RESULTS = Path(__file__).parents[1] / "results" / "schedules"
STEPS, WINDOW = 4000, 100


def train(module):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    w = torch.nn.Parameter(torch.full((50,), 3.0))
    optimizer = torch.optim.SGD([w], lr=0.05)
    warm = module.LinearLR(optimizer, 0.01, total_iters=500)
    cycle = module.CyclicLR(optimizer, 0.05, 0.5, step_size_up=200, cycle_momentum=False)
    plateau = module.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    rates, losses, window = [], [], []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        w.grad = w.detach() + torch.from_numpy(rng.normal(size=50)).float()
        optimizer.step()
        losses.append(float((w.detach() ** 2).mean()))
        window.append(losses[-1] + 0.02 * rng.normal())
        warm.step()
        cycle.step()
        if len(window) == WINDOW:
            plateau.step(float(np.mean(window)))
            window.clear()
    return np.array(rates), np.array(losses)


def main():
    warnings.simplefilter("ignore")
    runs = {"torch's three schedulers": train(theirs), "the same three, ours": train(ours)}
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    summary = {}
    for (name, (rates, losses)), colour in zip(runs.items(), ("#8d99ae", "#d1495b"), strict=True):
        above.plot(rates, color=colour, linewidth=1.2, label=name)
        below.semilogy(losses, color=colour, linewidth=0.7, label=name)
        tops = [float(rates[i : i + 400].max()) for i in range(0, STEPS, 400)]
        summary[name] = {
            "highest rate of each cycle": tops,
            "mean loss, last 400 steps": float(losses[-400:].mean()),
        }
    above.set(ylabel="learning rate", title="warm-up × cycle × plateau on a noisy quadratic")
    below.set(ylabel="loss", xlabel="step")
    above.legend(frameon=False)
    RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(RESULTS / "plateau-warmup-cyclic.png", dpi=150)
    text = json.dumps(summary, indent=1)
    (RESULTS / "plateau.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

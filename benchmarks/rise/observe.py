"""The questions, each answered by runs: what is plotted, and under ``said`` the numbers a text may quote."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from benchmarks.rise.watch import MORE, SEEDS, Run, centre, change, correlation, given, run

import accelerando
from accelerando.compare import tasks

Answer = dict[str, Any]

SHORT = 200
"""Steps, where what is asked shows early."""

CYCLES = 400
"""Steps of two cycles."""


def shown(x: float) -> str:
    """A number as the texts write it: three digits, and no more than are known."""
    return f"{x:.3g}" if 0.01 <= abs(x) < 1000 else f"{x:.2e}" if abs(x) < 0.01 else f"{x:,.0f}"


def adam() -> Answer:
    """At a constant rate: how far gain rises, and how much of it is the gradient getting smaller."""
    said, plots = {}, {}
    for name in tasks.names():
        runs = [run(name, partial(torch.optim.Adam, lr=1e-3), seed) for seed in SEEDS]
        gains, norms, moves = (
            [change(r.series(f)) for r in runs] for f in ("gain", "grad_norm", "update_rms")
        )
        rose = [factor for _, factor in (r.rise for r in runs if r.rise)]
        said |= {
            f"{name}.gain": shown(centre(gains)),
            f"{name}.gradient": shown(1 / centre(norms)),
            f"{name}.step": shown(centre(moves)),
            f"{name}.rose": f"{len(rose)} of {len(runs)}",
            f"{name}.factor": shown(centre(rose)) if rose else "none",
        }
        first = runs[0]
        plots[name] = {"step": first.steps} | {
            f: first.series(f) for f in ("gain", "grad_norm", "update_rms")
        }
    everywhere = {
        f: [float(said[f"{n}.{f}"].replace(",", "")) for n in tasks.names()] for f in ("gain", "step")
    }
    said |= {
        "most": shown(max(everywhere["gain"])),
        "least": shown(min(everywhere["gain"])),
        "tasks": str(len(tasks.names())),
        "risen": str(sum(int(said[f"{n}.rose"].split()[0]) for n in tasks.names())),
        "runs": str(len(tasks.names()) * len(SEEDS)),
    }
    return {"said": said, "plots": plots}


def radam() -> Answer:
    """The first steps of RAdam beside Adam's, in units of the rate."""
    said, plots = {}, {}
    for name in ("digits", "mnist1d", "quadratic"):
        both = {}
        for label, make in (("Adam", torch.optim.Adam), ("RAdam", torch.optim.RAdam)):
            runs = [run(name, partial(make, lr=1e-3), seed, every=1, steps=SHORT) for seed in SEEDS]
            both[label] = [[x / 1e-3 for x in r.series("update_rms")] for r in runs]
        ratio = np.median(np.array(both["RAdam"]) / np.array(both["Adam"]), axis=0)
        said |= {f"{name}.{t}": shown(float(ratio[t - 1])) for t in (1, 5, 6, 50, 200)}
        plots[name] = {k: np.median(v, axis=0).tolist() for k, v in both.items()}
    firsts = {
        label: _first_step(make) for label, make in (("Adam", torch.optim.Adam), ("RAdam", torch.optim.RAdam))
    }
    said["scaled.1"] = shown(firsts["RAdam"] / firsts["Adam"])
    b2, longest = 0.999, 2 / 0.001 - 1
    for t in (6, 10, 100, 1000, 3000):
        length = longest - 2 * t * b2**t / (1 - b2**t)
        r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        said[f"r.{t}"] = shown(r)
    return {"said": said, "plots": plots}


def _first_step(make: Any) -> float:
    """Its length on digits, where the loss is a thousand times the task's."""
    runs = [run("digits", partial(make, lr=1e-3), seed, every=1, steps=1, scale=1000) for seed in SEEDS]
    return float(np.median([r.series("update_rms")[0] for r in runs]))


def adabelief() -> Answer:
    """A gradient that stays the same, alone and under noise."""
    said, plots, steps = {}, {}, 500
    for noise in (0.0, 0.1, 0.5, 1.0):
        plots[str(noise)] = {}
        for label, make in (("Adam", accelerando.Adam), ("AdaBelief", accelerando.AdaBelief)):
            gains = []
            for seed in MORE:
                source = torch.Generator().manual_seed(seed)
                g = [1 + noise * torch.randn(1000, generator=source) for _ in range(steps)]
                gains.append(given(partial(make, lr=1e-3), g, every=5).series("gain"))
            gain = np.median(gains, axis=0)
            plots[str(noise)][label] = (gain / 1e-3).tolist()
            said[f"{label}.{noise:g}.rise"] = shown(float(gain[-1] / gain[0]))
            said[f"{label}.{noise:g}.end"] = shown(float(gain[-1] / 1e-3))
    return {"said": said, "plots": plots}


def lamb() -> Answer:
    """The trust ratio over time, and whether it goes with agreement."""
    said, plots = {}, {}
    for name in ("digits", "digits-autoencoder", "mnist1d"):
        rises, with_agreement, with_norm = [], [], []
        found, even, grown = [], [], []
        for seed in SEEDS:
            seen = run(name, partial(accelerando.LAMB, lr=1e-2), seed)
            weights = [
                r for r in seen.tensors if r["tensor"].endswith("weight") and r["trust_ratio"] and r["gain"]
            ]
            series: dict[str, list[dict[str, Any]]] = {}
            for row in weights:
                series.setdefault(row["tensor"], []).append(row)
            for rows in series.values():
                trust = [r["trust_ratio"] for r in rows]
                rises.append(change(trust))
                with_agreement.append(correlation(trust, [r["log_agreement"] for r in rows]))
                with_norm.append(correlation(trust, [r["update_rms"] for r in rows]))
            found.append(seen.rise)
            even.append(seen.evenly)
            lengths = seen.series("update_rms")
            grown.append(lengths[-1] / lengths[0])
            if seed == 0:
                plots[name] = {
                    "series": {
                        t: [[r[f] for r in rows] for f in ("step", "trust_ratio")]
                        for t, rows in series.items()
                    },
                    "trust": [r["trust_ratio"] for r in weights],
                    "agreement": [r["log_agreement"] for r in weights],
                }
        said |= {
            f"{name}.trust": shown(centre(rises)),
            f"{name}.agreement": f"{np.median(with_agreement):+.2f}",
            f"{name}.weights": f"{np.median(with_norm):+.2f}",
            f"{name}.rose": f"{sum(map(bool, found))} of {len(SEEDS)}",
            f"{name}.factor": shown(centre([r[1] for r in found if r])) if any(found) else "none",
            f"{name}.step": shown(float(np.median([r[0] for r in found if r]))) if any(found) else "none",
            f"{name}.even": f"{sum(even)} of {len(SEEDS)}",
            f"{name}.length": shown(centre(grown)),
        }
    return {"said": said | _trust_by_hand(), "plots": plots}


def _trust_by_hand() -> dict[str, str]:
    """Gradients that agree and that do not, for weights of the same norm: trust ratio and length of the step."""
    said = {}
    for label, agree in (("agree", 1.0), ("disagree", 0.0)):
        ratios, lengths = [], []
        for seed in SEEDS:
            source = torch.Generator().manual_seed(seed)
            p = torch.nn.Parameter(torch.ones(1000))
            optimizer = accelerando.LAMB([p], lr=1e-4)
            with accelerando.Lens(optimizer, every=1) as lens:
                for _ in range(200):
                    p.grad = agree + (1 - agree) * torch.randn(1000, generator=source)
                    optimizer.step()
            last = lens.table("tensor")[-1]
            ratios.append(last["trust_ratio"])
            lengths.append(last["relative_update"])
        said |= {f"hand.{label}.trust": shown(centre(ratios)), f"hand.{label}.length": shown(centre(lengths))}
    return said


def cyclic() -> Answer:
    """What a cycle does to gain, and what to beta1."""

    def cycle(optimizer: torch.optim.Optimizer, steps: int, momentum: bool) -> Any:
        scheduler = torch.optim.lr_scheduler.CyclicLR
        return scheduler(optimizer, 1e-4, 1e-2, step_size_up=steps // 4, cycle_momentum=momentum)

    said: dict[str, str] = {}
    plots: dict[str, Any] = {}
    for name in ("digits", "diabetes", "mnist1d"):
        for momentum in (False, True):
            runs = [
                run(
                    name,
                    partial(torch.optim.Adam, lr=1e-3),
                    seed,
                    every=1,
                    steps=CYCLES,
                    schedule=partial(cycle, momentum=momentum),
                )
                for seed in MORE
            ]
            swings = [_swing(r, "gain") for r in runs]
            key = f"{name}.{'momentum' if momentum else 'plain'}"
            events = [e for r in runs for e in r.events if e.code == "LR103"]
            said |= {f"{key}.gain": shown(centre(swings)), f"{key}.events": f"{len(events)} of {len(runs)}"}
            said[f"{key}.agreement"] = shown(
                math.exp(np.median([_foot_to_top(r, "log_agreement") for r in runs]))
            )
            said[f"{key}.nominal"] = shown(
                math.exp(np.median([_foot_to_top(r, "log_schedule") for r in runs]))
            )
            first = runs[0]
            plots[key] = {"step": first.steps} | {f: first.series(f) for f in ("lr", "gain", "log_agreement")}
    return {"said": said, "plots": plots}


def _foot_to_top(seen: Run, field: str) -> float:
    """From the foot to the top of the second cycle, three samples at each."""
    n = len(seen.groups)
    foot, top = n // 2, 3 * n // 4
    values = seen.series(field)
    return float(np.median(values[top - 1 : top + 2]) - np.median(values[foot - 1 : foot + 2]))


def _swing(seen: Run, field: str) -> float:
    n = len(seen.groups)
    values = seen.series(field)
    return float(
        np.median(values[3 * n // 4 - 1 : 3 * n // 4 + 2]) / np.median(values[n // 2 - 1 : n // 2 + 2])
    )


def prodigy() -> Answer:
    """How far d rises, how soon, and when it does not."""
    from prodigyopt import Prodigy

    said, plots = {}, {}
    for name in ("digits", "mnist1d", "diabetes", "quadratic"):
        runs = [run(name, partial(Prodigy, lr=1.0), seed, every=2, steps=SHORT) for seed in SEEDS]
        ds = [[math.exp(x) for x in r.series("log_distance")] for r in runs]
        soon = [next(2 * i + 1 for i, x in enumerate(d) if x >= 0.9 * d[-1]) for d in ds]
        said |= {
            f"{name}.rise": shown(centre([d[-1] / d[0] for d in ds])),
            f"{name}.end": shown(centre([d[-1] for d in ds])),
            f"{name}.soon": shown(float(np.median(soon))),
            f"{name}.falls": str(sum(b < a * (1 - 1e-9) for d in ds for a, b in pairwise(d))),
            f"{name}.rose": f"{sum(bool(r.rise) for r in runs)} of {len(runs)}",
        }
        plots[name] = {"step": runs[0].steps, "d": ds[0]}
    stuck = [_in_bfloat16(seed, 1e-6) for seed in SEEDS]
    freed = [_in_bfloat16(seed, 1e-3) for seed in SEEDS]
    said |= {
        "bfloat16.stuck": f"{sum(grown <= 1.0 + 1e-9 for grown in stuck)} of {len(stuck)}",
        "bfloat16.freed": f"{sum(grown > 1.0 + 1e-9 for grown in freed)} of {len(freed)}",
    }
    return {"said": said, "plots": plots}


def _in_bfloat16(seed: int, d0: float) -> float:
    """By what factor d has grown after 100 steps on weights that are one, in bfloat16."""
    from prodigyopt import Prodigy

    torch.manual_seed(seed)
    model = torch.nn.Linear(32, 1).bfloat16()
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(1.0)
    optimizer = Prodigy(model.parameters(), lr=1.0, d0=d0)
    for _ in range(100):
        x = torch.randn(64, 32).bfloat16()
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return float(optimizer.param_groups[0]["d"]) / d0


def decay() -> Answer:
    """How far decay shrinks each tensor in a step: through Adam's gradient, and decoupled."""
    said, plots = {}, {}
    for name in ("digits", "mnist1d", "digits-autoencoder"):
        for label, make in (("Adam", torch.optim.Adam), ("AdamW", torch.optim.AdamW)):
            spread, level = [], []
            for seed in SEEDS:
                seen = run(name, partial(make, lr=1e-3, weight_decay=1e-2), seed, steps=SHORT)
                by = {}
                for row in seen.tensors:
                    if row["tensor"].endswith("weight") and row["step"] > seen.steps[len(seen.steps) // 2]:
                        by.setdefault(row["tensor"], []).append(row["decay"])
                middle = {t: float(np.median(v)) for t, v in by.items()}
                spread.append(max(middle.values()) / min(middle.values()))
                level.append(centre(list(middle.values())))
                if seed == 0:
                    plots.setdefault(name, {})[label] = middle
            said |= {
                f"{name}.{label}.spread": shown(centre(spread)),
                f"{name}.{label}.level": shown(centre(level)),
            }
    return {"said": said, "plots": plots}


QUESTIONS: dict[str, Callable[[], Answer]] = {
    "adam": adam,
    "radam": radam,
    "adabelief": adabelief,
    "lamb": lamb,
    "cyclic": cyclic,
    "prodigy": prodigy,
    "decay": decay,
}


def seeds(question: str) -> int:
    """How many seeds a question is asked with."""
    return len(MORE if question in ("adabelief", "cyclic") else SEEDS)


def observe(question: str) -> Answer:
    """Answer one question; what torch says about schedules is not what is looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return QUESTIONS[question]()

"""Real records from a small loop, for the report's tests: digits, trained here, measured here."""

import math
from collections.abc import Callable
from itertools import islice

import torch

from accelerando.compare.records import Experiment, Outcome, Trial
from accelerando.compare.tasks import fingerprint, load

VERSIONS = (("accelerando", "0.1.0"), ("torch", torch.__version__))


def _adam(params, lr, steps):
    return torch.optim.Adam(params, lr=lr), None


def _cosine(kind):
    def made(params, lr, steps):
        optimizer = kind(params, lr=lr)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    return made


def _cyclic(params, lr, steps):
    optimizer = torch.optim.Adam(params, lr=lr)
    return optimizer, torch.optim.lr_scheduler.CyclicLR(
        optimizer, lr / 10, lr, step_size_up=max(1, steps // 8), cycle_momentum=False
    )


def _radam(params, lr, steps):
    return torch.optim.RAdam(params, lr=lr), None


def _sgd(params, lr, steps):
    return torch.optim.SGD(params, lr=lr), None


STRATEGIES: dict[str, Callable] = {
    "adam": _adam,
    "adam+cosine": _cosine(torch.optim.Adam),
    "adam+cyclic": _cyclic,
    "adamw+cosine": _cosine(torch.optim.AdamW),
    "radam": _radam,
    "sgd": _sgd,
}


def run(trial: Trial, evals: int = 10) -> Outcome:
    """Train once and write down what a comparison writes down."""
    task = load(trial.task)
    torch.manual_seed(trial.seed)
    model = task.model()
    optimizer, schedule = STRATEGIES[trial.strategy](model.parameters(), trial.rate, trial.steps)
    every = max(1, trial.steps // evals)
    seen, losses, rates = [(0, dict(task.evaluate(model)))], [], []
    for step, batch in enumerate(islice(task.batches(trial.seed), trial.steps), start=1):
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        before = [p.detach().clone() for p in model.parameters()]
        nominal = optimizer.param_groups[0]["lr"]
        optimizer.step()
        if step % max(1, every // 3) == 0:
            rates.append((step, nominal, *_measured(model, before)))
        if schedule is not None:
            schedule.step()
        losses.append((step, float(loss.detach())))
        if step % every == 0:
            seen.append((step, dict(task.evaluate(model))))
        if not math.isfinite(float(loss.detach())):
            return Outcome(trial, "diverged", seen[-1][1], tuple(seen), tuple(losses), tuple(rates))
    final = seen[-1][1]
    rise = _rise(rates)
    return Outcome(trial, "done", final, tuple(seen), tuple(losses), tuple(rates), rise, 1e-3 * trial.steps)


def _measured(model, before):
    moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(model.parameters(), before, strict=True)])
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    gain = float(moved.norm() / gradient.norm())
    alignment = -float(torch.dot(moved, gradient) / (moved.norm() * gradient.norm()))
    return gain, alignment, gain * alignment


def _rise(rates):
    """Of gain over nominal rate between the first and the last third; enough for a test's records."""
    third = len(rates) // 3
    if third < 2:
        return None
    early = sorted(gain / nominal for _, nominal, gain, _, _ in rates[:third])[third // 2]
    late = sorted(gain / max(nominal, 1e-12) for _, nominal, gain, _, _ in rates[-third:])[third // 2]
    return (rates[third][0], late / early) if late > 2 * early else None


def experiment(
    rates=(1e-4, 1e-3, 1e-2, 1e-1, 1.0), tune=(0, 1), fresh=tuple(range(100, 110)), steps=40
) -> tuple[Experiment, list[Outcome]]:
    """A whole comparison on digits: every strategy above, one that cannot run, and one with an error."""
    task = load("digits")
    mark = fingerprint(task)

    def trial(name, rate, seed, phase):
        return Trial("digits", mark, name, rate, seed, phase, steps, "cpu", VERSIONS, 10)

    outcomes, chosen = [], {}
    for name in STRATEGIES:
        tuned = [run(trial(name, rate, seed, "tune")) for rate in rates for seed in tune]
        means = {
            rate: math.fsum(o.final["loss"] for o in tuned if o.trial.rate == rate and o.status == "done")
            for rate in rates
        }
        chosen[name] = min(means, key=lambda rate: means[rate])
        outcomes += tuned + [run(trial(name, chosen[name], seed, "fresh")) for seed in fresh]
    broken = trial("adabelief", 1e-3, tune[0], "tune")
    outcomes.append(
        Outcome(
            broken, "error", message="RuntimeError: mat1 and mat2 cannot be multiplied", place="train.py:12"
        )
    )
    chosen["adabelief"] = None
    about = [
        {
            "name": name,
            "optimizer": name.split("+")[0],
            "schedule": name.partition("+")[2],
            "options": {},
            "rate_name": "lr",
            "versions": {},
            "note": "",
            "not_run": "no optimizer is called 'lamb' here" if name == "lamb" else "",
        }
        for name in (*STRATEGIES, "adabelief", "lamb")
    ]
    summary = {
        "name": "digits",
        "title": task.title,
        "description": task.description,
        "metric": task.metric,
        "target": task.target,
        "steps": steps,
        "hash": mark,
        "files": [],
    }
    asked = Experiment(
        task=summary,
        strategies=tuple(about),
        rates=rates,
        tune_seeds=tune,
        fresh_seeds=fresh,
        steps=steps,
        baseline="adam",
        device="cpu",
        versions=VERSIONS,
        command="accelerando compare digits --steps 40",
        chosen=chosen,
    )
    return asked, outcomes

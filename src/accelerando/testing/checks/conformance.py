"""Is it the paper? Positions in float64 against the transcription, tensor by tensor."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from accelerando.testing.papers import Paper
from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, inapplicable, verdict
from accelerando.testing.subject import Subject, assign, parameters

BAR = 1e-6
"""Relative distances below this are taken for the paper; the place of eps makes up to 1e-7."""

STEPS, LATE = 20, 12
PUNCTUAL = ("8x6", "40x40", "zeros", "ones", "scalar")
Path = NDArray[np.float64]


def _starts() -> dict[str, Path]:
    source = np.random.default_rng(0)
    return {
        "8x6": 0.43 * source.normal(size=(8, 6)),
        "40x40": 2.0 * source.normal(size=(40, 40)),
        "zeros": np.zeros(10),
        "ones": np.ones(10),
        "scalar": np.array(0.3),
        "late": source.normal(size=6),
    }


def _gradients(origins: Mapping[str, Path]) -> dict[str, list[Path | None]]:
    source = np.random.default_rng(1)
    drift = {name: source.normal(size=x.shape) for name, x in origins.items()}
    return {
        name: [
            None
            if name == "late" and t < LATE
            else (drift[name] + source.normal(size=x.shape)) / (1 + 0.3 * t)
            for t in range(STEPS)
        ]
        for name, x in origins.items()
    }


def _theirs(subject: Subject, options: Mapping[str, Any]) -> tuple[dict[str, Path], Mapping[str, Any]]:
    """The optimizer's trajectories, and the group it made of its options."""
    origins = _starts()
    series = _gradients(origins)
    params = parameters([torch.as_tensor(x) for x in origins.values()])
    optimizer = subject.make(params, **options)
    paths = [[x] for x in origins.values()]
    for step in zip(*series.values(), strict=True):
        assign(params, [None if g is None else torch.as_tensor(g) for g in step])
        subject.step(optimizer)
        for path, p in zip(paths, params, strict=True):
            path.append(p.detach().numpy().copy())
    stacked = {name: np.stack(path) for name, path in zip(origins, paths, strict=True)}
    return stacked, optimizer.param_groups[0]


def _papers(paper: Paper, options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Path]:
    origins = _starts()
    series = _gradients(origins)
    paths = paper.trajectories(origins, series, **options)
    return {name: paths[name] for name in names}


def _errors(got: Mapping[str, Path], want: Mapping[str, Path]) -> dict[str, float]:
    return {
        name: float(np.linalg.norm(got[name][-1] - path[-1]) / np.linalg.norm(path[-1] - path[0]))
        for name, path in want.items()
    }


def _first(got: Mapping[str, Path], want: Mapping[str, Path]) -> tuple[int, str, float, float]:
    """The first step that differs, in which tensor, how many times as long and how far off it is there."""
    for t in range(1, STEPS + 1):
        for name, path in want.items():
            right, step = path[t] - path[t - 1], got[name][t] - got[name][t - 1]
            length = float(np.linalg.norm(right))
            away = float(np.linalg.norm(step - right)) / max(length, 1e-12)
            if not away <= BAR:
                return t, name, float(np.linalg.norm(step)) / max(length, 1e-12), away
    return 0, "", 1.0, 0.0


def _hold(subject: Subject, options: Mapping[str, Any], names: Sequence[str] = PUNCTUAL) -> Outcome:
    paper = subject.paper
    if paper is None:
        return inapplicable("no transcription is known for it")
    rate: dict[str, Any] = {} if "lr" in subject.options or not subject.takes("lr") else {"lr": 1e-2}
    got, group = _theirs(subject, {**rate, **options})
    settings = paper.options(group)
    want = _papers(paper, settings, names)
    errors = _errors(got, want)
    worst = max(errors, key=lambda name: errors[name] if errors[name] == errors[name] else np.inf)
    if max(errors.values()) <= BAR:
        return verdict(True, f"is the paper to {errors[worst]:.1e}", "", errors=errors)
    step, tensor, ratio, away = _first(got, want)
    there = f"{tensor}: a step {ratio:.3g} times as long, {away:.2g} off"
    sentence = f"departs from the paper at step {step} ({there}); "
    low, high = f"{min(errors.values()):.2g}", f"{errors[worst]:.2g}"
    sentence += f"after {STEPS} steps {high if low == high else f'{low} to {high}'} of the way off"
    close = [
        label
        for label, more in paper.variants.items()
        if max(_errors(got, _papers(paper, {**settings, **more}, names)).values()) <= BAR
    ]
    sentence += f"; it is the variant: {close[0]}" if close else ""
    return verdict(False, "", sentence, errors=errors, first_step=step, step_ratio=ratio, variant=close)


def _with(names: Sequence[str], value: Any) -> Callable[[Subject], Outcome]:
    def ask(subject: Subject) -> Outcome:
        for name in names:
            if subject.takes(name) and name not in subject.options:
                return _hold(subject, {name: value})
        return inapplicable(f"has no option {names[0]} of its own to set")

    return ask


@check("P01", "is the paper, with its default options")
def defaults(subject: Subject) -> Outcome:
    """Twenty steps at lr 0.01 from tensors of five kinds."""
    return _hold(subject, {})


@check("P04", "is the paper, for a tensor whose gradients come late")
def late(subject: Subject) -> Outcome:
    """Beside the others, a tensor that has its first gradient at step 13."""
    return _hold(subject, {}, ["late"])


check("P02", "is the paper, with weight decay")(_with(["weight_decay"], 0.1))
check("P03", "is the paper, with amsgrad")(_with(["amsgrad"], True))

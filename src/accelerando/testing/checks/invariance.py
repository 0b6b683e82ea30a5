"""What must not matter: company, order, grouping, scale."""

from typing import Any

import torch

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, inapplicable, verdict
from accelerando.testing.subject import (
    Subject,
    gap,
    gradients,
    parameters,
    starts,
    travelled,
)

ROUNDING = 1e-9
"""Distances below this, in float64 and in units of the way, are rounding."""


@check("I03", "single = whole")
def alone(subject: Subject) -> Outcome:
    """A tensor moves in company as it moves alone."""
    one, steps = starts(torch.float64), [[4 * g for g in step] for step in gradients(8, torch.float64)]
    together = subject.run(one, steps)
    apart = [subject.run([t], [[s[i]] for s in steps])[0] for i, t in enumerate(one)]
    distance = gap(together, apart, one)
    return verdict(
        distance < ROUNDING,
        "each tensor moves as it does alone",
        f"a tensor's motion depends on the others: {distance:.2g} of the way",
        gap=distance,
    )


@check("I04", "the order of parameters and elements does not matter")
def order(subject: Subject) -> Outcome:
    """Parameters listed backwards, and vectors turned over, end where they ended."""
    one, steps = starts(torch.float64), gradients(8, torch.float64)
    want = subject.run(one, steps)

    def turn(tensors: Any) -> Any:
        return [t.flip(0) if t.dim() == 1 else t for t in reversed(tensors)]

    got = subject.run(turn(one), [turn(step) for step in steps])
    distance = gap(got, turn(want), turn(one))
    return verdict(
        distance < ROUNDING,
        "neither order matters",
        f"turning the order round changes {distance:.2g} of the way",
        gap=distance,
    )


@check("I05", "splitting a group does not matter")
def splitting(subject: Subject) -> Outcome:
    """The same tensors in one group and in three go the same way."""
    one, steps = starts(torch.float64), gradients(8, torch.float64)
    params = parameters(one)
    groups = [{"params": params[:1]}, {"params": params[1:3]}, {"params": params[3:]}]
    distance = gap(subject.advance(subject.make(groups), params, steps), subject.run(one, steps), one)
    return verdict(
        distance < ROUNDING,
        "three groups move as one",
        f"three groups move differently from one: {distance:.2g} of the way",
        gap=distance,
    )


@check("I06", "the loss's scale acts cleanly")
def scale(subject: Subject) -> Outcome:
    """Gradients 4096 times as large move every tensor alike or 4096 times as far, nothing between."""
    if subject.paper and "I06" in subject.paper.exempt:
        return inapplicable(subject.paper.exempt["I06"], **_scale_evidence(subject))
    evidence = _scale_evidence(subject)
    ratios = list(evidence.values())
    clean = any(all(abs(r / want - 1) < 0.01 for r in ratios) for want in (1.0, 4096.0))
    low, high = min(ratios), max(ratios)
    return verdict(
        clean,
        f"gradients 4096 times as large move the tensors {high:.4g} times as far",
        f"gradients 4096 times as large move the tensors between {low:.3g} and {high:.3g} times as far",
        **evidence,
    )


def _scale_evidence(subject: Subject) -> dict[str, float]:
    options: dict[str, Any] = {}
    if subject.takes("weight_decay") and "weight_decay" not in subject.options:
        options["weight_decay"] = 0.0
    one, steps = starts(torch.float64), gradients(8, torch.float64)
    small = subject.run(one, steps, **options)
    large = subject.run(one, [[4096.0 * g for g in step] for step in steps], **options)
    return {
        f"tensor {i}": travelled(b, o) / max(travelled(a, o), 1e-300)
        for i, (a, b, o) in enumerate(zip(small, large, one, strict=True))
    }


@check("I07", "a steady gradient makes steady steps")
def steady(subject: Subject) -> Outcome:
    """Under a constant gradient and rate the longest of 200 steps is at most twice the shortest."""
    options: dict[str, Any] = {}
    if subject.takes("weight_decay") and "weight_decay" not in subject.options:
        options["weight_decay"] = 0.0
    start = torch.full((8,), 10.0, dtype=torch.float64)
    params = parameters([start])
    optimizer = subject.make(params, **options)
    ways, here = [], start
    for _ in range(200):
        (there,) = subject.advance(optimizer, params, [[torch.full((8,), 0.5, dtype=torch.float64)]])
        ways.append(travelled(there, here))
        here = there
    low, high = min(ways), max(ways)
    ratio = high / low if low > 0 else float("inf")
    evidence = {
        "longest": high,
        "at step": 1 + ways.index(high),
        "shortest": low,
        "at step ": 1 + ways.index(low),
        "first": ways[0],
        "last": ways[-1],
    }
    seen = (
        f"the longest step (number {1 + ways.index(high)}) is {ratio:.3g} times the shortest "
        f"(number {1 + ways.index(low)})"
    )
    if subject.paper and "I07" in subject.paper.exempt:
        return inapplicable(f"{subject.paper.exempt['I07']}; {seen}", **evidence)
    return verdict(ratio <= 2, f"{seen}", seen, **evidence)

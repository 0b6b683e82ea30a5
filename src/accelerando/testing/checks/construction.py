"""How an optimizer is made: its parameters, its options and its groups."""

import contextlib
import io
from typing import Any

import torch
from torch import Tensor

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, failed, inapplicable, passed, verdict
from accelerando.testing.subject import (
    SHAPES,
    Gradients,
    Subject,
    gap,
    gradients,
    parameters,
    ready,
    same_bits,
    starts,
    travelled,
)

ALTERNATIVES: dict[str, Any] = {
    "betas": (0.5, 0.6),
    "eps": 1e-2,
    "weight_decay": 0.3,
    "momentum": 0.5,
    "max_grad_norm": 1e-3,
    "amsgrad": True,
    "ams_bound": True,
    "maximize": True,
}
"""Options with one meaning everywhere, each at a value that must show."""

RUN_BY = {"foreach", "fused", "capturable", "differentiable", "verbose", "print_change_log", "triton"}
"""Options that say how a step is run, not what it is."""


@check("C01", "steps as cls(params)")
def constructs(subject: Subject) -> Outcome:
    """Parameters may come as a list, as a generator and as dictionaries."""
    for form in (list, iter, lambda params: [{"params": params}]):
        params = parameters(starts())
        subject.advance(subject.make(form(params)), params, gradients(2))
    return passed("steps on a list, a generator and a dictionary of parameters")


@check("C02", "takes named parameters")
def named(subject: Subject) -> Outcome:
    """``model.named_parameters()`` may stand for ``model.parameters()``."""
    params = parameters(starts())
    optimizer = subject.make([(f"layer{i}", p) for i, p in enumerate(params)])
    got = subject.advance(optimizer, params, gradients(3))
    want = subject.run(starts(), gradients(3))
    return verdict(same_bits(got, want), "moves them as it moves bare ones", "moves them differently")


@check("C03", "refuses misspelt options")
def misspelt(subject: Subject) -> Outcome:
    """An option nobody reads is refused, not swallowed."""
    try:
        subject.make(parameters(starts()), weight_decy=0.1)
    except Exception as error:
        return passed(f"refuses weight_decy=0.1 with {type(error).__name__}")
    return failed("accepts weight_decy=0.1 in silence")


@check("C04", "keeps unknown group keys")
def group_keys(subject: Subject) -> Outcome:
    """A key of the user's own in a group is carried along."""
    params = parameters(starts())
    optimizer = subject.make([{"params": params, "my_label": "encoder"}])
    subject.advance(optimizer, params, gradients(1))
    kept = optimizer.param_groups[0].get("my_label") == "encoder"
    return verdict(kept, "carries a key of the user's own along", "loses a key of the user's own")


@check("C05", "honours each group's lr")
def group_lr(subject: Subject) -> Outcome:
    """A second group with a hundredth of the rate moves about a hundredth of the way."""
    if subject.lr is None:
        return inapplicable("has no lr in its groups")
    start, params = torch.ones(4), parameters([torch.ones(4), torch.ones(4)])
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": subject.lr / 100}]
    steps = [[g, g] for (g,) in gradients(10, shapes=[(4,)])]
    first, second = (travelled(p, start) for p in subject.advance(subject.make(groups), params, steps))
    ratio = second / first if first > 0 else float("nan")
    return verdict(
        0.002 <= ratio <= 0.05,
        f"a hundredth of the rate moves {ratio:.3g} of the way",
        f"a hundredth of the rate moves {ratio:.3g} of the way, not 0.01",
        asked=0.01,
        got=ratio,
    )


@check("C06", "honours options set in a group")
def group_options(subject: Subject) -> Outcome:
    """An option given to the second group, or set there later, acts as when given to the constructor."""
    ignored: dict[str, float] = {}
    tried = []
    for name, value in _alternatives(subject).items():
        one, steps = starts(torch.float64)[:1], gradients(12, torch.float64, shapes=SHAPES[:1], decay=1.0)
        want = _attempt(subject, one, steps, {name: value}) if name in subject.group else None
        if want is None or gap(want, subject.run(one, steps), one) < 1e-9:
            continue
        tried.append(name)
        for when in ("given", "set later"):
            distance = gap(_in_second_group(subject, one, steps, name, value, when), want, one)
            if distance > 1e-9:
                ignored[f"{name} ({when})"] = distance
    if not tried:
        return inapplicable("no option with a meaning shared by optimizers stands in its groups")
    return verdict(
        not ignored,
        f"{', '.join(tried)} act alike in a group and in the constructor",
        f"{', '.join(ignored)} in a second group acts differently than in the constructor",
        tried=tried,
        gaps=ignored,
    )


def _in_second_group(
    subject: Subject, one: list[Tensor], steps: Gradients, name: str, value: Any, when: str
) -> list[Tensor]:
    """Where ``one`` ends as the second of two groups; the first has nothing but zeros."""
    params = parameters([*one, torch.zeros_like(one[0])])
    second: dict[str, Any] = {"params": params[:1]}
    if when == "given":
        second[name] = value
    optimizer = subject.make([{"params": params[1:]}, second])
    optimizer.param_groups[1][name] = value
    idle = [[g, torch.zeros_like(one[0])] for (g,) in steps]
    return subject.advance(optimizer, params, idle)[:1]


def _attempt(
    subject: Subject, one: list[Tensor], steps: Gradients, options: dict[str, Any]
) -> list[Tensor] | None:
    """Where ``one`` ends with ``options``, or None where the constructor refuses them."""
    try:
        subject.make(parameters(one), **options)
    except Exception:
        return None  # a value it refuses is no option to compare
    return subject.run(one, steps, **options)


@check("C07", "no option without effect")
def effects(subject: Subject) -> Outcome:
    """Each option with a known meaning changes the trajectory when it is changed."""
    moved, idle = {}, []
    for name, value in _alternatives(subject).items():
        one, steps = starts(torch.float64), gradients(20, torch.float64, decay=1.0)
        changed = _attempt(subject, one, steps, {name: value})
        if changed is None:
            continue
        moved[name] = distance = gap(changed, subject.run(one, steps), one)
        if distance < 1e-12:
            idle.append(f"{name}={value}")
    if not moved:
        return inapplicable("has no option with a meaning shared by optimizers")
    return verdict(not idle, f"{', '.join(moved)} act", f"{', '.join(idle)} changes nothing", changes=moved)


@check("C08", "keeps its options in the groups")
def options_in_groups(subject: Subject) -> Outcome:
    """What is kept on the object is lost by state_dict, deepcopy and pickle."""
    skip = RUN_BY | {"params", "self", "args", "kwargs", *subject.options.keys()} - set(subject.group)
    names = [
        name
        for name, parameter in subject.signature.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) and name not in skip
    ]
    betas = {"beta1", "beta2"} <= set(subject.group)
    lost = [n for n in names if n not in subject.group and not (n == "betas" and betas)]
    return verdict(
        not lost,
        "every option of the constructor stands in the groups",
        f"{', '.join(lost)} is not in the groups, so a checkpoint does not carry it",
        missing=lost,
    )


@check("C09", "add_param_group in mid-run")
def added(subject: Subject) -> Outcome:
    """A group added later steps beside the first."""
    first, second = parameters([torch.ones(4)]), parameters([torch.ones(3)])
    optimizer = subject.make(first)
    subject.advance(optimizer, first, gradients(3, shapes=[(4,)]))
    optimizer.add_param_group({"params": second})
    subject.advance(ready(optimizer), [*first, *second], gradients(12, shapes=[(4,), (3,)]))
    way = travelled(second[0], torch.ones(3))
    return verdict(way > 0, "the added group moves", "the added group does not move", way=way)


@check("C10", "says nothing")
def silent(subject: Subject) -> Outcome:
    """Making and stepping an optimizer prints nothing."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        subject.run(starts(), gradients(1))
    text = said.getvalue()
    return verdict(not text, "prints nothing", f"prints {len(text)} characters", characters=len(text))


def _alternatives(subject: Subject) -> dict[str, Any]:
    return {
        name: value
        for name, value in ALTERNATIVES.items()
        if subject.takes(name) and name not in subject.options and _alike(subject.group.get(name), value)
    }


def _alike(now: Any, value: Any) -> bool:
    """Whether an option's present value is of the kind this battery knows by its name."""
    return now is None or isinstance(now, tuple) == isinstance(value, tuple)

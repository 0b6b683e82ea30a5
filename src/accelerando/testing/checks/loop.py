"""Learning rates, schedulers and loss scaling: what a training loop does around a step."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CyclicLR, LambdaLR

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, failed, inapplicable, passed, verdict
from accelerando.testing.subject import (
    Subject,
    assign,
    gap,
    gradients,
    parameters,
    same_bits,
    starts,
    travelled,
)


@check("C28", "lr = 0 moves nothing")
def standstill(subject: Subject) -> Outcome:
    """With every group's lr at zero no weight moves, decay or not."""
    if subject.lr is None:
        return inapplicable("has no lr in its groups")
    params = parameters(starts())
    optimizer = subject.make(params)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    end = subject.advance(optimizer, params, gradients(8))
    way = max(travelled(a, b) for a, b in zip(end, starts(), strict=True))
    return verdict(same_bits(end, starts()), "nothing moves", f"a weight moves by {way:.2g}", way=way)


@check("C29", "takes lr as a tensor")
def tensor_lr(subject: Subject) -> Outcome:
    """A tensor as lr steps like the number, and a scheduler keeps the object."""
    if "lr" not in subject.group or not subject.takes("lr"):
        return inapplicable("has no lr to set")
    rate = 2.0**-7
    lr = torch.tensor(rate)
    params = parameters(starts())
    optimizer = subject.make(params, lr=lr)
    want = subject.run(starts(), gradients(8), lr=rate)
    distance = gap(subject.advance(optimizer, params, gradients(8)), want, starts())
    kept = isinstance(optimizer.param_groups[0]["lr"], Tensor)
    good = distance < 1e-4 and kept
    bad = f"steps {distance:.2g} away from the number" if kept else "replaces the tensor by a number"
    return verdict(good, "steps as with the number and keeps the tensor", bad, gap=distance)


@check("C30", "follows an LRScheduler")
def scheduled(subject: Subject) -> Outcome:
    """A scheduler's rates and the same rates set by hand give the same run."""
    if subject.lr is None:
        return inapplicable("has no lr in its groups")
    params = parameters(starts())
    optimizer = subject.make(params)
    scheduler = LambdaLR(optimizer, lambda t: 0.5**t)
    by_hand = parameters(starts())
    other = subject.make(by_hand)
    base = subject.lr
    for t, step in enumerate(gradients(6)):
        assign(params, step)
        subject.step(optimizer)
        scheduler.step()
        for group in other.param_groups:
            group["lr"] = base * 0.5**t
        assign(by_hand, step)
        subject.step(other)
    got, want = [p.detach() for p in params], [p.detach() for p in by_hand]
    distance = gap(got, want, starts())
    moved = gap(got, subject.run(starts(), gradients(6)), starts())
    return verdict(
        distance < 1e-6 and moved > 1e-3,
        "a scheduler's rates act as the same rates set by hand",
        f"differs by {distance:.2g} from the rates set by hand, by {moved:.2g} from a constant one",
        gap=distance,
        from_constant=moved,
    )


@check("C31", "runs under CyclicLR")
def cyclic(subject: Subject) -> Outcome:
    """The code everyone copies, with and without ``cycle_momentum=False``."""
    if subject.lr is None:
        return inapplicable("has no lr in its groups")
    cases: tuple[dict[str, Any], ...] = ({"cycle_momentum": False}, {})
    options: dict[str, Any] = {"base_lr": 1e-5, "max_lr": 1e-3, "step_size_up": 4, "mode": "triangular"}
    for more in cases:
        params = parameters(starts())
        optimizer = subject.make(params)
        if not more and not {"momentum", "betas"} & optimizer.defaults.keys():
            return passed("runs without cycle_momentum; it has no betas to cycle")
        scheduler = CyclicLR(optimizer, **options, **more)
        for step in gradients(6):
            assign(params, step)
            subject.step(optimizer)
            scheduler.step()
    return passed("runs with and without cycle_momentum")


@check("C37", "follows p.data")
def replaced(subject: Subject) -> Outcome:
    """A parameter whose ``data`` is replaced between steps goes on from the new tensor."""
    params = parameters(starts())
    optimizer = subject.make(params)
    subject.advance(optimizer, params, gradients(3))
    old = [p.data for p in params]
    for p in params:
        p.data = p.data.clone()
    kept = [t.clone() for t in old]
    end = subject.advance(optimizer, params, gradients(3, seed=2))
    want = subject.run(starts(), [*gradients(3), *gradients(3, seed=2)])
    if not same_bits(old, kept):
        return failed("goes on writing into the old tensor")
    distance = gap(end, want, starts())
    return verdict(
        distance < 1e-5,
        "goes on from the new tensor",
        f"is {distance:.2g} of the way off after p.data was replaced",
        gap=distance,
    )


@check("C32", "GradScaler: scaling changes nothing, skipped steps are not counted")
def scaled(subject: Subject) -> Outcome:
    """A step with infinite gradients is skipped whole: the run equals the one that never had it."""
    if subject.needs_closure:
        return inapplicable("needs a closure, which GradScaler does not allow")
    params = parameters(starts())
    optimizer = subject.make(params)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    steps = gradients(8)
    for t, step in enumerate([*steps[:3], steps[3], *steps[3:]]):
        factor = float("inf") if t == 3 else 1.0
        optimizer.zero_grad()
        loss = sum((p * g * factor).sum() for p, g in zip(params, step, strict=True))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call,arg-type]
        scaler.step(optimizer)
        scaler.update()
    want = subject.run(starts(), steps)
    distance = gap([p.detach() for p in params], want, starts())
    return verdict(
        distance < 1e-6,
        "the scaled run with a skipped step is the plain run",
        f"the scaled run with a skipped step is {distance:.2g} of the way off",
        gap=distance,
    )

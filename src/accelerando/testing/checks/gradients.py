"""What a step does with gradients and closures."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Parameter

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, failed, inapplicable, passed, verdict
from accelerando.testing.subject import (
    Gradients,
    Subject,
    assign,
    finite,
    gap,
    gradients,
    parameters,
    same_bits,
    starts,
    travelled,
)


@check("C11", "runs closures with gradients on, returns their loss")
def closures(subject: Subject) -> Outcome:
    """Positional and by keyword: a closure must be able to call ``backward``."""
    for call in ("positional", "keyword"):
        (p,) = parameters([torch.ones(4)])
        optimizer = subject.make([p])
        seen: list[bool] = []
        closure = _closure(p, seen)
        loss: Any = optimizer.step(closure) if call == "positional" else optimizer.step(closure=closure)
        if not seen:
            return failed(f"does not call the closure ({call})")
        if not all(seen):
            return failed(f"calls the closure with gradients off ({call})")
        if loss is None or abs(float(loss) - 4.0) > 1e-6:
            return failed(f"returns {loss!r} instead of the closure's loss 4.0 ({call})")
    return passed("calls the closure with gradients on and returns its loss")


def _closure(p: Parameter, seen: list[bool]) -> Any:
    def closure() -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        with torch.enable_grad():
            loss = (p**2).sum()
            p.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return closure


@check("C12", "leaves .grad alone")
def grad_untouched(subject: Subject) -> Outcome:
    """After a step every ``.grad`` is the same object with the same bits."""
    changed = []
    cases: dict[str, dict[str, Any]] = {"as it is": {}}
    if "weight_decay" not in subject.options and subject.takes("weight_decay"):
        cases["with weight_decay=0.1"] = {"weight_decay": 0.1}
    if "maximize" not in subject.options and subject.takes("maximize"):
        cases["with maximize=True"] = {"maximize": True}
    for label, options in cases.items():
        params = parameters(starts())
        optimizer = subject.make(params, **options)
        for step in gradients(7):
            assign(params, step)
            before = [p.grad for p in params]
            subject.step(optimizer)
            kept = all(p.grad is g for p, g in zip(params, before, strict=True))
            if not kept or not same_bits([g for g in before if g is not None], step):
                changed.append(label)
                break
    return verdict(
        not changed,
        "no gradient is written or replaced",
        f"writes into .grad {', '.join(changed)}",
        changed=changed,
    )


@check("C13", "skips parameters without a gradient")
def missing(subject: Subject) -> Outcome:
    """``grad is None`` is skipped: the parameter stays, the others move as if it were not there."""
    params = parameters(starts())
    steps = [[g if i else None for i, g in enumerate(step)] for step in gradients(4)]
    end = subject.advance(subject.make(params), params, steps)
    return verdict(
        same_bits(end[:1], starts()[:1]),
        "a parameter without a gradient stays where it is",
        "a parameter without a gradient moves",
        way=travelled(end[0], starts()[0]),
    )


@check("C14", "counts a late parameter's own steps")
def late(subject: Subject) -> Outcome:
    """From its first gradient on, at step 51, a parameter moves as one does from step 1 on."""
    one, first = starts(torch.float64), gradients(12, torch.float64)
    alone = subject.run(one[:1], [step[:1] for step in first])
    if gap(subject.run(one, first)[:1], alone, one[:1]) > 1e-9:
        return inapplicable("its tensors are coupled, so a late one has no motion of its own")
    moving = next((n for n in range(1, 13) if _moved(subject, one, first[:n])), 0)
    if not moving:
        return inapplicable("does not move in its first twelve steps")
    fresh = subject.run(one, first[:moving])
    params = parameters(one)
    optimizer = subject.make(params)
    before = [[None, *step[1:]] for step in gradients(50, torch.float64, seed=5)]
    subject.advance(optimizer, params, before)
    end = subject.advance(optimizer, params, first[:moving])
    distance = gap(end[:1], fresh[:1], one[:1])
    ratio = travelled(end[0], one[0]) / travelled(fresh[0], one[0])
    return verdict(
        distance < 1e-6,
        "moves at its first gradient in step 51 as one does in step 1",
        f"{moving} gradients from step 51 on move it {ratio:.3g} times as far as from step 1 on, "
        f"{distance:.2g} of the way off",
        ratio=ratio,
        gap=distance,
        steps=moving,
    )


def _moved(subject: Subject, one: Sequence[torch.Tensor], steps: Gradients) -> bool:
    return travelled(subject.run(one, steps)[0], one[0]) > 0


@check("C15", "sparse gradients: steps or a clear refusal")
def sparse(subject: Subject) -> Outcome:
    """Either a sparse gradient steps, or the refusal says that it is about sparse gradients."""
    (p,) = parameters([torch.ones(4, 2)])
    optimizer = subject.make([p])
    p.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.ones(1, 2), (4, 2), check_invariants=True)
    try:
        subject.step(optimizer)
    except Exception as error:
        text = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
        clear = "sparse" in text.lower() and "aten::" not in text and "layout" not in text.lower()
        return verdict(
            clear, f"refuses: {text}", f"fails obscurely with {type(error).__name__}: {text}", message=text
        )
    return verdict(
        bool((p[1] != 1).any()) and finite([p]), "steps sparse gradients", "a sparse gradient moves nothing"
    )


@check("C16", "runs step hooks")
def hooks(subject: Subject) -> Outcome:
    """Pre- and post-hooks run once a step, in that order, and survive closures."""
    order: list[str] = []
    params = parameters(starts())
    optimizer = subject.make(params)
    optimizer.register_step_pre_hook(lambda *_: order.append("pre"))
    optimizer.register_step_post_hook(lambda *_: order.append("post"))
    subject.advance(optimizer, params, gradients(2))
    return verdict(
        order == ["pre", "post"] * 2,
        "hooks run before and after each step",
        f"two steps ran the hooks as {order}",
        order=order,
    )


@check("C17", "steps empty and non-contiguous parameters")
def layouts(subject: Subject) -> Outcome:
    """A tensor without elements is harmless; a transposed one moves as its contiguous copy does."""
    wide = starts(torch.float64)[0]
    steps = gradients(4, torch.float64, shapes=[tuple(wide.shape)])
    want = subject.run([wide], steps)
    turned = Parameter(wide.t().contiguous().t())
    got = subject.advance(subject.make([turned]), [turned], steps)
    if travelled(got[0], want[0]) > 1e-9 * travelled(want[0], wide):
        return failed("a transposed parameter moves differently from its contiguous copy")
    full = parameters([wide, torch.zeros(0, 3, dtype=torch.float64)])
    end = subject.advance(
        subject.make(full), full, [[g, torch.zeros(0, 3, dtype=torch.float64)] for (g,) in steps]
    )
    if not finite(end):
        return failed("an empty tensor beside it spoils a parameter", finite=False)
    return passed("empty and transposed tensors step like any other")


@check("C18", "maximize is the step on the negative gradient")
def maximize(subject: Subject) -> Outcome:
    """``maximize=True`` on a gradient is the step on its negative."""
    if not subject.takes("maximize") or "maximize" in subject.options:
        return inapplicable("has no option maximize")
    one, steps = starts(torch.float64), gradients(8, torch.float64)
    got = subject.run(one, steps, maximize=True)
    want = subject.run(one, [[-g for g in step] for step in steps])
    distance = max(travelled(a, b) for a, b in zip(got, want, strict=True))
    return verdict(
        distance < 1e-12,
        "is the step on the negative gradient",
        f"differs from the step on the negative gradient by {distance:.2g}",
        distance=distance,
    )

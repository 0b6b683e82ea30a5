"""Zeros, half precision and double precision."""

import torch
from torch import Tensor

from accelerando.testing.registry import check
from accelerando.testing.report import Outcome, inapplicable, verdict
from accelerando.testing.subject import (
    ZERO,
    Subject,
    finite,
    gap,
    gradients,
    parameters,
    starts,
    travelled,
)


def _zeros_first(subject: Subject, dtype: torch.dtype) -> list[Tensor]:
    steps = gradients(3, dtype)
    still = [[torch.zeros_like(g) for g in steps[0]]] * 7
    return subject.run(starts(dtype), [*still, *steps])


@check("C33", "all-zero first gradients give no NaN")
def zeros(subject: Subject) -> Outcome:
    """Seven steps of zero gradients, then real ones, in float32."""
    good = finite(_zeros_first(subject, torch.float32))
    return verdict(good, "stays finite", "zero gradients make NaN or infinity")


@check("C34", "float16 parameters survive zero gradients")
def zeros_in_half(subject: Subject) -> Outcome:
    """The same with float16 parameters, where an eps of 1e-8 is zero."""
    good = finite(_zeros_first(subject, torch.float16))
    return verdict(good, "stays finite", "zero gradients make NaN or infinity in float16")


@check("C35", "bfloat16 parameters follow the float32 run")
def half_precision(subject: Subject) -> Outcome:
    """Steps large enough to show in bfloat16 go where the float32 run goes; a method that rises is given time."""
    one = [(t / 8).to(torch.float32) for t in starts(torch.bfloat16)]
    options = {} if "lr" in subject.options or not subject.takes("lr") else {"lr": 0.0625}
    for length in (20, 40, 80, 160):
        steps = [[g.to(torch.bfloat16) for g in step] for step in gradients(length)]
        want = subject.run(one, [[g.float() for g in step] for step in steps], **options)
        if all(travelled(p, o) > 0.05 * float(o.norm()) for p, o in zip(want, one, strict=True)):
            break
    got = subject.run([t.to(torch.bfloat16) for t in one], steps, **options)
    distance = gap(got, want, one)
    return verdict(
        finite(got) and distance < 0.25,
        f"ends within {distance:.2g} of the float32 way",
        f"ends {distance:.2g} of the way off the float32 run",
        gap=distance,
    )


@check("I01", "keeps float64 accuracy")
def double(subject: Subject) -> Outcome:
    """A relative change of 1e-10 in the weights or the gradients is not rounded away."""
    one, steps = starts(torch.float64), gradients(8, torch.float64)
    plain = subject.run(one, steps)
    if all(torch.equal(p, p.float().double()) for p in plain):
        return verdict(False, "", "float64 weights come out rounded to float32", weights="float32")

    def response(size: float) -> float:
        source = torch.Generator().manual_seed(3)
        bent = [
            [g * (1 + size * torch.randn(g.shape, generator=source, dtype=g.dtype)) for g in step]
            for step in steps
        ]
        ends = subject.run(one, bent)
        return max(travelled(a, b) for a, b in zip(ends, plain, strict=True)) / size

    coarse, fine = response(1e-3), response(1e-10)
    if coarse == 0:
        return inapplicable("its steps do not depend on the gradient's size")
    ratio = fine / coarse
    return verdict(
        0.2 < ratio < 5,
        "a change of 1e-10 in the gradients shows in proportion",
        f"a change of 1e-10 in the gradients shows {ratio:.2g} times as much as it should",
        ratio=ratio,
    )


@check("I02", "moves zero-initialised tensors")
def from_zero(subject: Subject) -> Outcome:
    """A bias or LoRA matrix that starts at zero must be able to leave it."""
    params = parameters(starts())
    end = subject.advance(subject.make(params), params, gradients(20))
    way, other = float(end[ZERO].norm()), travelled(end[1], starts()[1])
    return verdict(
        way > 1e-3 * other,
        "a tensor that starts at zero moves",
        "a tensor that starts at zero stays there",
        way=way,
        beside=other,
    )

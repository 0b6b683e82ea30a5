"""Which tensors a rule can step, and why not; how they lie in memory."""

import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.sharding import refuse_placements, why_not_gradient
from accelerando.errors import UnsupportedTensorError


def refuse(owner: str, p: torch.Tensor, place: str, rule: Rule) -> None:
    """Raise `UnsupportedTensorError` for a parameter that no backend can step."""
    refuse_placements(owner, p, place, rule)
    if p.layout != torch.strided:
        raise UnsupportedTensorError(f"{owner}: parameters must be dense, got {p.layout} ({place})")
    if not (p.is_floating_point() or p.is_complex()):
        raise UnsupportedTensorError(f"{owner}: parameters must be floating point, got {p.dtype} ({place})")
    if p.is_complex() and not rule.elementwise:
        raise UnsupportedTensorError(
            f"{owner}: complex parameters need an elementwise rule, and {rule.name} sums over elements ({place})"
        )


def refuse_gradient(owner: str, p: torch.Tensor, g: torch.Tensor, place: str) -> None:
    """Raise `UnsupportedTensorError` for a gradient that no backend can use."""
    if reason := why_not_gradient(p, g):
        raise UnsupportedTensorError(f"{owner}: {reason} ({place})")
    if g.layout != torch.strided:
        raise UnsupportedTensorError(
            f"{owner}: gradients must be dense, got {g.layout} ({place}); use sparse=False, or torch.optim.SparseAdam"
        )


def dense(t: torch.Tensor) -> bool:
    """Whether a tensor's elements fill its memory once, in any order of axes."""
    if t.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(t.stride(), t.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether equal places in memory hold equal elements of two dense tensors."""
    return a.shape == b.shape and ((a.is_contiguous() and b.is_contiguous()) or a.stride() == b.stride())

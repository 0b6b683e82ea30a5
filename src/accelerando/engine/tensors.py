"""Which tensors a rule can step, and why not."""

import torch

from accelerando.engine.anatomy import Rule
from accelerando.errors import UnsupportedTensorError


def refuse(owner: str, p: torch.Tensor, place: str, rule: Rule) -> None:
    """Raise `UnsupportedTensorError` for a parameter that no backend can step."""
    if type(p).__name__ == "DTensor" or hasattr(p, "_local_tensor"):
        raise UnsupportedTensorError(
            f"{owner}: a DTensor is sharded, and sharded parameters are not supported ({place}); gather them first"
        )
    if p.layout != torch.strided:
        raise UnsupportedTensorError(f"{owner}: parameters must be dense, got {p.layout} ({place})")
    if not (p.is_floating_point() or p.is_complex()):
        raise UnsupportedTensorError(f"{owner}: parameters must be floating point, got {p.dtype} ({place})")
    if p.is_complex() and not rule.elementwise:
        raise UnsupportedTensorError(
            f"{owner}: complex parameters need an elementwise rule, and {rule.name} sums over elements ({place})"
        )


def refuse_gradient(owner: str, g: torch.Tensor, place: str) -> None:
    """Raise `UnsupportedTensorError` for a gradient that no backend can use."""
    if g.layout != torch.strided:
        raise UnsupportedTensorError(
            f"{owner}: gradients must be dense, got {g.layout} ({place}); use sparse=False, or torch.optim.SparseAdam"
        )

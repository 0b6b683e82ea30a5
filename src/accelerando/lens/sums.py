"""Inner products of tensors, global over every rank that holds a share."""

from typing import Any

import torch


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """⟨a, b⟩ in at least float32, on the tensors' device; of a DTensor, over all its shards."""
    if hasattr(a, "full_tensor") or hasattr(b, "full_tensor"):
        total: Any = (_wide(a) * _wide(b)).sum()
        return torch.as_tensor(total.full_tensor())
    return torch.dot(_wide(a).reshape(-1), _wide(b).reshape(-1))


def _wide(x: torch.Tensor) -> torch.Tensor:
    if x.is_complex():
        x = torch.view_as_real(x)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()

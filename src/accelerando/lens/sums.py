"""Sums over a tensor's elements, global over every rank that holds a share."""

from collections.abc import Sequence
from typing import Any

import torch


def local(x: torch.Tensor) -> torch.Tensor:
    """This rank's share of a tensor, real, in at least float32."""
    if hasattr(x, "to_local"):
        x = x.to_local()
    if x.is_complex():
        x = torch.view_as_real(x)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """⟨a, b⟩ of two local tensors, on their device."""
    if a.dtype != b.dtype:
        a, b = a.double(), b.double()
    return torch.dot(a.reshape(-1), b.reshape(-1))


def reduced(rows: Sequence[torch.Tensor], owners: Sequence[torch.Tensor]) -> torch.Tensor:
    """The rows as one float64 matrix, each summed over the ranks that share its owner.

    An owner that is a DTensor is summed over those mesh dimensions that shard it, all owners of the same mesh
    and dimensions in one all-reduce; replicated dimensions already agree.
    """
    device = rows[0].device
    table = torch.stack([row.to(device, torch.float64, non_blocking=True) for row in rows])
    shared: dict[tuple[Any, tuple[int, ...]], list[int]] = {}
    for i, owner in enumerate(owners):
        dims = tuple(k for k, how in enumerate(getattr(owner, "placements", ())) if how.is_shard())
        if dims:
            shared.setdefault((owner.device_mesh, dims), []).append(i)  # type: ignore[attr-defined]
    for (mesh, dims), which in shared.items():
        part = table[which]
        for dim in dims:
            torch.distributed.all_reduce(part, group=mesh.get_group(dim))
        table[which] = part
    return table

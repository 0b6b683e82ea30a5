"""Counts and memory on the device: what kernels read and write instead of the host."""

from collections.abc import Sequence
from typing import Any

import torch

from accelerando.engine.lots import Item


def adopt(items: Sequence[Item], device: torch.device) -> None:
    """Move counts and remembered numbers that are elsewhere to ``device``, as 0-dim views of one vector a dtype."""
    places: dict[torch.dtype, list[tuple[dict[str, Any], str]]] = {torch.float32: [], torch.float64: []}
    for item in items:
        places[torch.float32].append((item.state, "step"))
        owner = item.state if item.rule.scope == "tensor" else item.group
        places[torch.float64] += [(owner, name) for name in item.rule.memory]
    for dtype, found in places.items():
        once = {(id(owner), name): (owner, name) for owner, name in found}.values()
        moved = [(owner, name) for owner, name in once if not _lies(owner[name], dtype, device)]
        vector = torch.tensor([float(owner[name]) for owner, name in moved], dtype=dtype, device=device)
        for k, (owner, name) in enumerate(moved):
            owner[name] = vector[k]


def remembered(items: Sequence[Item]) -> list[Any]:
    """The counts and memories that `adopt` left with states and groups."""
    found = [i.state["step"] for i in items]
    for item in items:
        owner = item.state if item.rule.scope == "tensor" else item.group
        found += [owner[name] for name in item.rule.memory]
    return found


def _lies(value: Any, dtype: torch.dtype, device: torch.device) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.dtype == dtype
        and value.device == device
        and value.ndim == 0
    )

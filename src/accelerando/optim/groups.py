"""Parameter groups from a model: no decay on biases and norms, smaller rates for earlier layers."""

import re
from typing import Any

import torch

from accelerando.errors import HyperparameterError


def param_groups(
    model: torch.nn.Module,
    *,
    weight_decay: float = 0.0,
    layer_decay: float | None = None,
    lr: float | None = None,
) -> list[dict[str, Any]]:
    """Group a model's trainable parameters: tensors of one dimension or less, and embeddings of norms, do not decay.

    Args:
        model: its ``named_parameters`` are grouped, in order, each once; frozen ones are left out.
        weight_decay: λ ≥ 0 of the matrices; biases, norms and other vectors get 0.
        layer_decay: in (0, 1]: each block's rate is this fraction of the next one's. Blocks are the numbered
            modules in names such as ``blocks.3.attn.weight``; what comes before them is the lowest layer.
        lr: the rate of the top layer; needed with ``layer_decay``.

    Raises:
        HyperparameterError: ``weight_decay`` is negative, or ``layer_decay`` without ``lr`` or outside (0,
        1].

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
        >>> [(g["weight_decay"], len(g["params"])) for g in param_groups(model, weight_decay=0.1)]
        [(0.1, 1), (0.0, 3)]
    """
    if not weight_decay >= 0:
        raise HyperparameterError(f"param_groups: weight_decay must be in [0, inf), got {weight_decay!r}")
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise HyperparameterError(f"param_groups: layer_decay must be in (0, 1], got {layer_decay!r}")
    if layer_decay is not None and lr is None:
        raise HyperparameterError("param_groups: layer_decay needs lr, the rate of the top layer")
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    depths = (
        _depths([n for n, _ in named]) if layer_decay is not None else dict.fromkeys((n for n, _ in named), 0)
    )
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for name, p in named:
        decay = weight_decay if p.ndim > 1 else 0.0
        group = groups.setdefault((depths[name], decay), {"params": [], "weight_decay": decay})
        group["params"].append((name, p))
        if layer_decay is not None and lr is not None:
            group["lr"] = lr * layer_decay ** (top - depths[name])
        elif lr is not None:
            group["lr"] = lr
    return list(groups.values())


def _depths(names: list[str]) -> dict[str, int]:
    """Name → layer: what precedes the numbered blocks is 0, block i is i + 1, what follows is the top."""
    found = {n: re.search(r"\.(\d+)\.", f".{n}") for n in names}
    numbers = [int(m.group(1)) for m in found.values() if m]
    top, depths, seen = max(numbers, default=-1) + 2, {}, False
    for name, match in found.items():
        seen = seen or match is not None
        depths[name] = int(match.group(1)) + 1 if match else (top if seen else 0)
    return depths

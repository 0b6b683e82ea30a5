"""Sharded parameters: this rank's share of them, and the mesh dimensions that their sums run over.

A rule steps the share as if it were a tensor. `DTensor` is met by name alone, so that nothing is imported for
parameters that are whole.
"""

import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from accelerando.engine.anatomy import Rule
from accelerando.errors import StateError, UnsupportedTensorError

Reach = tuple[Any, tuple[int, ...]]
"""A device mesh, and the dimensions of it over which shares add up to the tensor."""


def is_shared(t: Any) -> bool:
    """Whether a tensor is a `DTensor`."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(t, module.DTensor)


def local(t: Any) -> torch.Tensor:
    """This rank's share of a tensor; a whole tensor is its own."""
    if not is_shared(t):
        return t  # type: ignore[no-any-return]
    share = t._local_tensor
    return share.wait() if hasattr(share, "wait") else share  # type: ignore[no-any-return]


def reach(p: Any) -> Reach | None:
    """Where the sums of a parameter are to be completed; None where this rank has them whole."""
    if not is_shared(p):
        return None
    mesh = p.device_mesh
    dims = tuple(k for k, how in enumerate(p.placements) if not how.is_replicate() and mesh.size(k) > 1)
    return (mesh, dims) if dims else None


def refuse_placements(owner: str, p: Any, place: str, rule: Rule) -> None:
    """Raise `UnsupportedTensorError` for a share that cannot be stepped by itself."""
    if getattr(p, "_fsdp_flattened", False) and not rule.elementwise:
        raise UnsupportedTensorError(
            f"{owner}: the rule sums over tensors, and FullyShardedDataParallel shards tensors laid end to end, "
            f"which do not tell how they are cut ({place}); use torch.distributed.fsdp.fully_shard"
        )
    if not is_shared(p):
        if hasattr(p, "_local_tensor"):
            raise UnsupportedTensorError(
                f"{owner}: {type(p).__name__} is a sharded tensor of an unknown kind ({place}); use DTensor"
            )
        return
    for how in p.placements:
        if how.is_partial():
            raise UnsupportedTensorError(
                f"{owner}: a parameter placed as {how!r} is a sum that is still to be made ({place}); "
                "redistribute it to Shard or Replicate"
            )
        if type(how).__name__ not in ("Shard", "_StridedShard", "Replicate"):
            raise UnsupportedTensorError(
                f"{owner}: parameters may be placed as Shard or Replicate, got {how!r} ({place})"
            )


def refuse_partition(owner: str, group: Mapping[str, Any], rule: Rule, place: str) -> None:
    """Raise `UnsupportedTensorError` for what a rank cannot know that steps some of the tensors alone."""
    wide = [repr(n) for n, scope in rule.sums.items() if scope != "tensor"]
    wide += [
        n for n, off in (("max_grad_norm", None), ("on_nonfinite", "propagate")) if group.get(n, off) != off
    ]
    if wide and _is_partition():
        raise UnsupportedTensorError(
            f"{owner}: ZeroRedundancyOptimizer gives every rank some of the tensors and no way to sum over those of "
            f"others, which {' and '.join(wide)} must ({place}); use fully_shard, or leave it out"
        )


def _is_partition() -> bool:
    """Whether an optimizer is being made by `ZeroRedundancyOptimizer`, which tells it nothing of that."""
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    if module is None:
        return False
    maker = inspect.unwrap(module.ZeroRedundancyOptimizer._init_local_optimizer).__code__
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not maker:
        frame = frame.f_back
    return frame is not None


def first_element(owner: str, p: Any, place: str) -> int:
    """The index of a share's first element within the whole tensor.

    Raises:
        UnsupportedTensorError: the share's elements are not consecutive in the whole tensor, so that random bits
            drawn by their index would not be those of the whole.
    """
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if any(getattr(how, "dim", 0) or type(how).__name__ == "_StridedShard" for how in p.placements):
        raise UnsupportedTensorError(
            f"{owner}: random bits of stochastic stores go by an element's index, and shards of a dimension other than "
            f"the first, or strided ones, have no consecutive ones, got {tuple(p.placements)} ({place}); use "
            "store='nearest' or 'compensated' there, or Shard(0)"
        )
    _, start = compute_local_shape_and_global_offset(p.shape, p.device_mesh, p.placements)
    return int(start[0]) * math.prod(p.shape[1:]) if start else 0


def why_not_gradient(p: Any, g: Any) -> str | None:
    """Why a gradient is not the gradient of this rank's share, and what to do; None if it is."""
    if is_shared(p) != is_shared(g):
        kinds = ["a DTensor" if is_shared(t) else "a whole tensor" for t in (p, g)]
        return f"the parameter is {kinds[0]} and its gradient {kinds[1]}; make both the same"
    if is_shared(p) and (g.placements != p.placements or g.device_mesh != p.device_mesh):
        return (
            f"the parameter is placed as {tuple(p.placements)}, its gradient as {tuple(g.placements)}; set "
            "p.grad = p.grad.redistribute(p.device_mesh, p.placements) before the step"
        )
    return None


def fit(owner: str, name: str, value: torch.Tensor, p: Any) -> torch.Tensor:
    """A loaded buffer, as the parameter is sharded; every rank cuts its share out of a whole one.

    Raises:
        StateError: it is sharded in another way.
    """
    if is_shared(value) and not why_not_gradient(p, value):
        return value
    if is_shared(value):
        ours = f"as {tuple(p.placements)}" if is_shared(p) else "whole"
        raise StateError(
            f"{owner}: {name} is placed as {tuple(value.placements)}, its parameter {ours}; "  # type: ignore[attr-defined]
            "use torch.distributed.checkpoint.state_dict, which moves shards"
        )
    if not is_shared(p):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, p.device_mesh, p.placements, src_data_rank=None)


class LocalState:
    """The state of a parameter, of which only this rank's share is seen."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    def __getitem__(self, name: str) -> torch.Tensor:
        return local(self.state[name])

    def __contains__(self, name: object) -> bool:
        return name in self.state


class Shares:
    """This rank's shares of a list of parameters, and whether they are still where they were."""

    def __init__(self, params: Sequence[torch.Tensor]) -> None:
        self.at = [k for k, p in enumerate(params) if is_shared(p)]
        self.kept = [params[k]._local_tensor for k in self.at]  # type: ignore[attr-defined]

    def gradients(self, params: Sequence[Any], grads: list[Any]) -> list[Any] | None:
        """The gradients of the shares; None where a share was replaced or a gradient is not of it."""
        if not self.at:
            return grads
        shares = list(grads)
        for k, kept in zip(self.at, self.kept, strict=True):
            p, g = params[k], grads[k]
            if p._local_tensor is not kept or (g is not None and why_not_gradient(p, g)):
                return None
            shares[k] = local(g)
        return shares

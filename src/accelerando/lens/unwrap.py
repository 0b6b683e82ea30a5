"""From what a host hands out to the `torch.optim.Optimizer` whose steps are real."""

from typing import Any

import torch

from accelerando.errors import UnsupportedTensorError

INNER = ("optimizer", "optim", "_optimizer")
"""Where wrappers keep the optimizer: Accelerate and DeepSpeed, ZeroRedundancyOptimizer, Lightning."""


def unwrap(optimizer: Any) -> torch.optim.Optimizer:
    """The innermost optimizer of a wrapper, or the optimizer itself.

    A wrapper's own hooks do not fire in every host (Accelerate's has none), the inner one's always do.

    Raises:
        UnsupportedTensorError: there is no `torch.optim.Optimizer` inside.
    """
    seen: set[int] = set()
    while id(optimizer) not in seen:
        seen.add(id(optimizer))
        inner = next((getattr(optimizer, name, None) for name in INNER if _holds(optimizer, name)), None)
        if inner is None:
            break
        optimizer = inner
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    raise UnsupportedTensorError(
        f"lens: optimizer must be a torch.optim.Optimizer or wrap one as .optimizer, .optim or ._optimizer, "
        f"got {type(optimizer).__name__}"
    )


def _holds(wrapper: Any, name: str) -> bool:
    return isinstance(getattr(wrapper, name, None), torch.optim.Optimizer) or hasattr(
        getattr(wrapper, name, None), "param_groups"
    )


def unwrap_all(optimizer: Any) -> list[torch.optim.Optimizer]:
    """The optimizers in a wrapper, a container (``.optimizers``) or a sequence of these, each once.

    Raises:
        UnsupportedTensorError: one of them holds none, or there is none at all.
    """
    many = optimizer if isinstance(optimizer, list | tuple) else getattr(optimizer, "optimizers", None)
    if isinstance(many, list | tuple):
        found = [one for part in many for one in unwrap_all(part)]
    else:
        found = [unwrap(optimizer)]
    unique = list({id(one): one for one in found}.values())
    if not unique:
        raise UnsupportedTensorError("lens: there is no optimizer to look at: the sequence is empty")
    return unique

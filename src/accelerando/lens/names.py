"""Readable names for parameters."""

import weakref

import torch


class Names:
    """The names a model gives its parameters; else the group's, or a parameter's place in it."""

    def __init__(self, model: torch.nn.Module | None) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], str]] = {}
        for name, p in model.named_parameters() if model is not None else ():
            self._known[id(p)] = (weakref.ref(p), name)

    def of(self, optimizer: torch.optim.Optimizer, p: torch.Tensor, group: int) -> str:
        """The name of a parameter of this group."""
        owner, name = self._known.get(id(p), (None, ""))
        if owner is None or owner() is not p:
            name = _place(optimizer, p, group)
            self._known[id(p)] = (weakref.ref(p), name)
        return name


def _place(optimizer: torch.optim.Optimizer, p: torch.Tensor, group: int) -> str:
    params = optimizer.param_groups[group]["params"]
    at = next((i for i, other in enumerate(params) if other is p), -1)
    names = optimizer.param_groups[group].get("param_names")
    if names and 0 <= at < len(names):
        return str(names[at])
    return f"group{group}[{at}] {'×'.join(str(n) for n in p.shape) or 'scalar'}"

"""What an optimizer remembers: made at the first gradient, loaded at full precision."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from accelerando.engine import stores
from accelerando.engine.anatomy import Rule
from accelerando.engine.fields import number
from accelerando.engine.sharding import fit
from accelerando.errors import StateError


def buffer_dtype(p: torch.Tensor, rule: Rule, name: str, group: Mapping[str, Any]) -> torch.dtype:
    """The dtype of a buffer: float32, wider where the parameter is wider; bfloat16 where the group asks for it."""
    if stores.policy_of(p, group).narrows(rule, name):
        return torch.bfloat16
    return torch.promote_types(p.dtype, torch.float32)


def begin(p: torch.Tensor, rule: Rule, group: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a parameter that has made no step."""
    made: dict[str, Any] = {"step": torch.zeros((), dtype=torch.float32)}
    for name, start in rule.buffers.items():
        dtype = buffer_dtype(p, rule, name, group)
        if start == "param":
            made[name] = p.detach().clone(memory_format=torch.preserve_format).to(dtype)
        else:
            made[name] = torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format)
    if rule.scope == "tensor":
        made |= {n: torch.tensor(_start(rule, n, group), dtype=torch.float64) for n in rule.memory}
    conform(p, rule, group, made)
    return made


def conform(p: torch.Tensor, rule: Rule, group: Mapping[str, Any], state: dict[str, Any]) -> None:
    """Bring a state to the store policies of its group, which may have changed since the last step."""
    if stores.policy_of(p, group).p != "compensated":
        state.pop(stores.REMAINDER, None)
    elif stores.REMAINDER not in state:
        state[stores.REMAINDER] = torch.zeros_like(p, dtype=torch.int16, memory_format=torch.preserve_format)
    for name in rule.buffers:
        dtype = buffer_dtype(p, rule, name, group)
        if name in state and torch.bfloat16 in (dtype, state[name].dtype):
            state[name] = state[name].to(dtype)


def begin_memory(group: dict[str, Any], rule: Rule, others: Sequence[Mapping[str, Any]] = ()) -> None:
    """Give a group the memory of its rule, where it has none; memory per tensor is in the state instead.

    A decision over all groups is one: a group that comes later takes over what the ``others`` remember.
    """
    if rule.scope == "tensor":
        return
    shared = others[0] if others and rule.scope == "all" else {}
    for name in rule.memory:
        group.setdefault(name, shared.get(name, _start(rule, name, group)))


def _start(rule: Rule, name: str, group: Mapping[str, Any]) -> float:
    start = rule.memory[name]
    return number(group[start]) if isinstance(start, str) else float(start)


def check_saved(owner: str, optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Raise `StateError` where a saved buffer's shape is not its parameter's, or a remainder's bits are lost."""
    for position, (p, saved) in enumerate(_pairs(optimizer, state_dict)):
        remainder = saved.get(stores.REMAINDER)
        if torch.is_tensor(remainder) and remainder.dtype != torch.int16:
            raise StateError(
                f"{owner}: {stores.REMAINDER} of parameter {position} must be torch.int16, got {remainder.dtype}; "
                "nothing was loaded; load the state dict as it was saved, before any cast"
            )
        for name, value in saved.items():
            if torch.is_tensor(value) and value.ndim and value.shape != p.shape:
                raise StateError(
                    f"{owner}: {name} of parameter {position} has shape {tuple(value.shape)}, the parameter "
                    f"{tuple(p.shape)}; nothing was loaded; build the optimizer over the same parameters"
                )


def restore(optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Undo torch's cast of loaded state to the parameter's dtype: take the saved values at full precision."""
    rule_of = optimizer.rule_of  # type: ignore[attr-defined]
    groups = [group for group in optimizer.param_groups for _ in group["params"]]
    for (p, saved), group in zip(_pairs(optimizer, state_dict), groups, strict=True):
        rule = rule_of(group)
        if not saved:
            continue
        state = optimizer.state[p]
        for name, value in saved.items():
            if not torch.is_tensor(value) or name == "step":
                continue
            dtype = (
                torch.float64
                if name in rule.memory
                else buffer_dtype(p, rule, name, group)
                if name in rule.buffers
                else value.dtype
            )
            loaded = value.detach().to(device=p.device, dtype=dtype, copy=True)
            if name in rule.buffers:
                loaded = fit(type(optimizer).__name__, name, loaded, p)
            state[name] = loaded
        count = state.get("step", 0.0)
        state["step"] = torch.tensor(float(count), dtype=torch.float32)
        for name, fresh in begin(p, rule, group).items():
            state.setdefault(name, fresh)


def _pairs(optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> list[tuple[torch.Tensor, Any]]:
    """Each parameter with its saved state, matched by position in the groups."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    keys = [key for group in state_dict["param_groups"] for key in group["params"]]
    return [(p, state_dict["state"].get(key, {})) for p, key in zip(params, keys, strict=False)]

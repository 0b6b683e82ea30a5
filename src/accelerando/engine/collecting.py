"""The parameters that a step is to move, and what the engine knows of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from accelerando.engine import state, stores
from accelerando.engine.anatomy import Rule
from accelerando.engine.fields import number
from accelerando.engine.lots import Item
from accelerando.engine.sharding import LocalState, first_element, is_shared, local, reach
from accelerando.engine.tensors import refuse_gradient

RuleOf = Callable[[Mapping[str, Any]], Rule]


def collect(optimizer: torch.optim.Optimizer, rule_of: RuleOf) -> list[Item]:
    """Every parameter with a gradient, in the order of the groups; states are begun where there are none.

    Raises:
        UnsupportedTensorError: a gradient that no backend can use; no state was begun.
    """
    owner = type(optimizer).__name__
    pairs = [
        (group, p, f"group {i}, parameter {j}")
        for i, group in enumerate(optimizer.param_groups)
        for j, p in enumerate(group["params"])
    ]
    stepped = [(*pair, k) for k, pair in enumerate(pairs) if pair[1].grad is not None]
    for group, p, place, _ in stepped:
        refuse_gradient(owner, p, p.grad, place)
        stores.check(owner, p, place, group)
    for group, p, *_ in stepped:
        if not optimizer.state[p]:
            optimizer.state[p].update(state.begin(p, rule_of(group), group))
        state.conform(p, rule_of(group), group, optimizer.state[p])
    index = {id(p): k for k, p in enumerate(optimizer.state)}
    return [
        _item(owner, rule_of(group), group, p, optimizer.state[p], place, k, index[id(p)])
        for group, p, place, k in stepped
    ]


def is_rehearsal(items: Sequence[Item]) -> bool:
    """The checkpoint library makes state by a step with rate 0 and gradients 0, which must not count."""
    return (
        bool(items)
        and not any(float(i.state["step"]) for i in items)
        and all(number(i.group["lr"]) == 0 for i in items)
        and not any(bool(i.g.any()) for i in items)
    )


def _item(
    owner: str, rule: Rule, group: dict[str, Any], p: torch.Tensor, kept: dict[str, Any], place: str, k: int,
    index: int,
) -> Item:  # fmt: skip
    seen: Any = LocalState(kept) if is_shared(p) else kept
    whole = rule.elementwise or reach(p) is None
    drawn = stores.policy_of(p, group).draws and is_shared(p)
    start = first_element(owner, p, place) if drawn else 0
    return Item(group, rule, local(p), local(p.grad), seen, index, place, k, whole, start)

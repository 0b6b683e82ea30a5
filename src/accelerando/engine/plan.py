"""What stays the same from step to step: parameters sorted into lots, and whether that still holds."""

from collections.abc import Callable, Mapping
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import torch

from accelerando.engine import choice, state
from accelerando.engine.anatomy import Rule
from accelerando.engine.cpu.lot import CpuLot, scheme_of
from accelerando.engine.eager import EagerLot
from accelerando.engine.fields import number
from accelerando.engine.lots import Item, Segment, segments
from accelerando.engine.pool import Pool
from accelerando.engine.tensors import refuse_gradient

RuleOf = Callable[[Mapping[str, Any]], Rule]
_grad = attrgetter("grad")


class Plan:
    """The lots of an optimizer, as long as its groups, parameters, states and the presence of gradients last.

    Raises:
        UnsupportedTensorError: a gradient that no backend can use.
        BackendUnavailable: a group demands a backend that cannot step a parameter.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rule_of: RuleOf) -> None:
        self.optimizer, self.rule_of = optimizer, rule_of
        self.owner = type(optimizer).__name__
        self.params = self._params()
        grads = list(map(_grad, self.params))
        self.missing = [g is None for g in grads]
        self.modes = self._modes()
        found = self._items(grads)
        self.pool = Pool(
            list(optimizer.state.values()),
            [() if r.scope != "tensor" else tuple(r.memory) for r in self._rules_of_states()],
        )
        names = choice.choose(self.owner, found)
        kinds: dict[Any, list[Item]] = {}
        for item, name in zip(found, names, strict=True):
            scheme = scheme_of(item) if name == "cpu" else None
            kinds.setdefault((name, id(item.rule), scheme), []).append(item)
        self.lots: list[CpuLot | EagerLot] = [
            EagerLot(items[0].rule, items) if scheme is None else CpuLot(items[0].rule, scheme, items)
            for (_, _, scheme), items in kinds.items()
        ]
        position = {id(p): k for k, p in enumerate(self.params)}
        self.positions = [[position[id(i.p)] for i in lot.items] for lot in self.lots]
        self.straight = self.positions == [list(range(len(self.params)))]
        self.segments: list[list[Segment]] = [segments(lot.rule, lot.items) for lot in self.lots]
        for lot, parts in zip(self.lots, self.segments, strict=True):
            lot.uniform = [k for k, part in enumerate(parts) for _ in range(part.begin, part.end)]
        self.groups = list({id(i.group): i.group for i in found}.values())
        self.plain = [(False, None, "propagate")] * len(self.groups)
        self.ones = {id(g): 1.0 for g in self.groups}
        self.tensors = any(isinstance(lot, EagerLot) for lot in self.lots)
        self.counted = [i.index for i in found]
        self.all_counted = sorted(self.counted) == list(range(len(self.pool.ages)))
        self.raw = [p for lot in self.lots if isinstance(lot, CpuLot) for p in lot.params]

    @property
    def items(self) -> list[Item]:
        """Every parameter with a gradient, lot by lot."""
        return [item for lot in self.lots for item in lot.items]

    def refresh(self) -> bool:
        """Take this step's gradients; False if the plan is out of date."""
        params = self._params()
        if len(params) != len(self.params) or not all(map(is_, params, self.params)):
            return False
        grads = list(map(_grad, params))
        if [g is None for g in grads] != self.missing or self._modes() != self.modes:
            return False
        if not self.pool.holds(list(self.optimizer.state.values())):
            return False
        if self.straight:
            return self._take(self.lots[0], grads)
        return all(
            self._take(lot, [grads[k] for k in positions])
            for lot, positions in zip(self.lots, self.positions, strict=True)
        )

    def is_rehearsal(self) -> bool:
        """The checkpoint library makes state by a step with rate 0 and gradients 0, which must not count."""
        items = self.items
        return (
            bool(items)
            and not any(float(i.state["step"]) for i in items)
            and all(number(i.group["lr"]) == 0 for i in items)
            and not any(bool(i.g.any()) for i in items)
        )

    def _take(self, lot: CpuLot | EagerLot, grads: list[torch.Tensor]) -> bool:
        try:
            return lot.refresh(grads)
        except RuntimeError:  # a gradient without an address, which building anew will name
            return False

    def _params(self) -> list[torch.Tensor]:
        return list(chain.from_iterable([g["params"] for g in self.optimizer.param_groups]))

    def _modes(self) -> list[tuple[int, Rule, Any]]:
        return [(id(g), self.rule_of(g), g["backend"]) for g in self.optimizer.param_groups]

    def _items(self, grads: list[Any]) -> list[Item]:
        pairs = [
            (group, p, f"group {i}, parameter {j}")
            for i, group in enumerate(self.optimizer.param_groups)
            for j, p in enumerate(group["params"])
        ]
        stepped = [(*pair, g) for pair, g in zip(pairs, grads, strict=True) if g is not None]
        for _, _, place, g in stepped:
            refuse_gradient(self.owner, g, place)
        for group, p, _, _ in stepped:
            if not self.optimizer.state[p]:
                self.optimizer.state[p].update(state.begin(p, self.rule_of(group), group))
        index = {id(p): k for k, p in enumerate(self.optimizer.state)}
        return [
            Item(group, self.rule_of(group), p, g, self.optimizer.state[p], index[id(p)], place)
            for group, p, place, g in stepped
        ]

    def _rules_of_states(self) -> list[Rule]:
        group_of = {id(p): group for group in self.optimizer.param_groups for p in group["params"]}
        return [self.rule_of(group_of[id(p)]) for p in self.optimizer.state]

"""What stays the same from step to step: parameters sorted into lots, and whether that still holds."""

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import torch

from accelerando.engine import choice, exchange
from accelerando.engine.collecting import RuleOf, is_rehearsal
from accelerando.engine.cpu.lot import CpuLot, scheme_of
from accelerando.engine.eager import EagerLot
from accelerando.engine.fields import number
from accelerando.engine.lots import Item, Segment, segments
from accelerando.engine.pool import Pool
from accelerando.engine.sharding import Shares, is_shared

_grad = attrgetter("grad")


class Plan:
    """The lots of an optimizer, as long as its groups, parameters, states and the presence of gradients last.

    Raises:
        UnsupportedTensorError: a gradient that no backend can use.
        BackendUnavailable: a group demands a backend that cannot step a parameter.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rule_of: RuleOf, found: Sequence[Item]) -> None:
        self.optimizer, self.rule_of = optimizer, rule_of
        self.owner = type(optimizer).__name__
        self.params = self._params()
        grads = list(map(_grad, self.params))
        self.missing = [g is None for g in grads]
        self.complete = not any(self.missing)
        self.modes = self._modes()
        self.shares = Shares(self.params)
        self.pool = Pool(
            list(filter(None, optimizer.state.values())),
            self._remembered_by_states(),
        )
        names = choice.choose(self.owner, found)
        kinds: dict[Any, list[Item]] = {}
        for item, name in zip(found, names, strict=True):
            scheme = scheme_of(item) if name == "cpu" else None
            kinds.setdefault((name, id(item.rule), scheme, item.whole), []).append(item)
        self.lots: list[CpuLot | EagerLot] = [
            EagerLot(items[0].rule, items) if scheme is None else CpuLot(items[0].rule, scheme, items, whole)
            for (_, _, scheme, whole), items in kinds.items()
        ]
        self.positions = [[i.position for i in lot.items] for lot in self.lots]
        self.straight = self.positions == [list(range(len(self.params)))]
        self.segments: list[list[Segment]] = [segments(lot.rule, lot.items) for lot in self.lots]
        for lot, parts in zip(self.lots, self.segments, strict=True):
            lot.uniform = [k for k, part in enumerate(parts) for _ in range(part.begin, part.end)]
        rules = [rule for _, rule, *_ in self.modes]
        self.members = exchange.members(optimizer.param_groups, rules)
        self.exchange = self._exchange([m for m in self.members if m.rule.sums])
        groups = [i.group for i in found] + [m.group for m in self.members]
        self.groups = list({id(group): group for group in groups}.values())
        self.plain = [(False, None, "propagate")] * len(self.groups)
        self.ones = {id(g): 1.0 for g in self.groups}
        self.tensors = any(isinstance(lot, EagerLot) for lot in self.lots)
        self.captured = any(i.p.is_cuda for i in found)
        self.counted = [i.index for i in found]
        self.all_counted = sorted(self.counted) == list(range(len(self.pool.ages)))
        self.summing = any(lot.rule.sums and not lot.settles for lot in self.lots)
        self.raw = [p for lot in self.lots if isinstance(lot, CpuLot) for p in lot.params]
        self.raw += [self.params[i.position] for i in found if is_shared(self.params[i.position])]

    @cached_property
    def measuring(self) -> exchange.Exchange | None:
        """What completes the measures of all sharded gradients."""
        return exchange.Exchange(self.owner, self.members, 2, self.positions) if self.members else None

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
        if self._modes() != self.modes:
            return False
        if not self.complete and [g is None for g in grads] != self.missing:
            return False
        if not self.pool.holds(list(filter(None, self.optimizer.state.values()))):
            return False
        shares = self.shares.gradients(params, grads)
        if shares is None:
            return False
        if self.straight:
            return self._take(self.lots[0], shares)
        return all(
            self._take(lot, [shares[k] for k in positions])
            for lot, positions in zip(self.lots, self.positions, strict=True)
        )

    def rehearses(self, first: bool, fresh: bool) -> bool:
        """Whether this step is such a rehearsal; ranks that sum together say the same, or they would wait for ever.

        Args:
            first: whether no plan was made before, which is so on all ranks or none.
            fresh: whether this rank had no state.
        """
        exchanging = self.exchange is not None or any(
            m.group["max_grad_norm"] is not None or m.group["on_nonfinite"] != "propagate"
            for m in self.members
        )
        if not exchanging or self.measuring is None:
            return fresh and is_rehearsal(self.items)
        if not first or any(number(m.group["lr"]) for m in self.members):
            return False
        return not self.measuring.anywhere(not (fresh and is_rehearsal(self.items)))

    def _exchange(self, members: list[exchange.Member]) -> exchange.Exchange | None:
        width = max((len(m.rule.sums) for m in members), default=0)
        return exchange.Exchange(self.owner, members, width, self.positions) if members else None

    def _take(self, lot: CpuLot | EagerLot, grads: list[torch.Tensor]) -> bool:
        try:
            return lot.refresh(grads)
        except (
            RuntimeError,
            TypeError,
        ):  # a gradient that is gone, or without an address, which building anew names
            return False

    def _params(self) -> list[torch.Tensor]:
        return list(chain.from_iterable([g["params"] for g in self.optimizer.param_groups]))

    def _modes(self) -> list[tuple[Any, ...]]:
        return [
            (id(g), self.rule_of(g), g["backend"], g["store"], g["store_seed"], g["state_dtype"])
            for g in self.optimizer.param_groups
        ]

    def _remembered_by_states(self) -> list[tuple[str, ...]]:
        """What each state that was begun remembers per tensor; nothing for a parameter that is in no group."""
        rules = {id(p): self.rule_of(group) for group in self.optimizer.param_groups for p in group["params"]}
        found = [rules.get(id(p)) for p, kept in self.optimizer.state.items() if kept]
        return [tuple(rule.memory) if rule is not None and rule.scope == "tensor" else () for rule in found]

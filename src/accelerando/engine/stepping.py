"""One step over all groups: collect, clip, first pass, decide, second pass."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from accelerando.engine import host, state
from accelerando.engine.anatomy import Rule
from accelerando.engine.eager import Work
from accelerando.engine.fields import number
from accelerando.engine.tensors import refuse_gradient


@dataclass
class Item:
    """A parameter with a gradient, and what the engine knows of it."""

    group: dict[str, Any]
    rule: Rule
    p: torch.Tensor
    g: torch.Tensor
    state: dict[str, Any]
    place: str


class Step:
    """One step of one optimizer."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, rule_of: Callable[[Mapping[str, Any]], Rule]
    ) -> None:
        self.optimizer, self.rule_of = optimizer, rule_of
        self.owner = type(optimizer).__name__

    def run(self) -> None:
        """Make the step, or leave everything as it is."""
        pairs = [
            (group, p, f"group {i}, parameter {j}")
            for i, group in enumerate(self.optimizer.param_groups)
            for j, p in enumerate(group["params"])
            if p.grad is not None
        ]
        for _, p, place in pairs:
            refuse_gradient(self.owner, p.grad, place)
        fresh = not self.optimizer.state
        items = [self._item(group, p, place) for group, p, place in pairs]
        if fresh and items and self._is_rehearsal(items):
            return
        scale = self._gradient_scales(items)
        if scale is not None:
            self._step(items, scale)

    def _item(self, group: dict[str, Any], p: torch.Tensor, place: str) -> Item:
        rule = self.rule_of(group)
        kept = self.optimizer.state[p]
        if not kept:
            kept.update(state.begin(p, rule, group))
        if p.grad is None:
            raise AssertionError(place)
        return Item(group, rule, p, p.grad, kept, place)

    @staticmethod
    def _is_rehearsal(items: list[Item]) -> bool:
        """The checkpoint library makes state by a step with rate 0 and gradients 0, which must not count."""
        return all(number(i.group["lr"]) == 0 for i in items) and not any(bool(i.g.any()) for i in items)

    def _gradient_scales(self, items: list[Item]) -> dict[int, float] | None:
        """Group id → the factor of its gradients; None if this step is to be skipped."""
        scales = {id(i.group): -1.0 if i.group["maximize"] else 1.0 for i in items}
        for i in items:
            policy = i.group["on_nonfinite"]
            if policy != "propagate" and not bool(torch.isfinite(i.g).all()):
                if policy == "skip":
                    return None
                raise FloatingPointError(
                    f"{self.owner}: a gradient is not finite ({i.place}); nothing was changed; lower the rate, "
                    "look at the loss, or set on_nonfinite='skip'"
                )
        clipped = [i for i in items if i.group["max_grad_norm"] is not None]
        if clipped:
            square = sum(float(torch.linalg.vector_norm(i.g, dtype=_wide(i.g)).item()) ** 2 for i in clipped)
            for i in clipped:
                factor = i.group["max_grad_norm"] / (math.sqrt(square) + 1e-6)
                scales[id(i.group)] = math.copysign(1.0 if factor > 1 else factor, scales[id(i.group)])
        return scales

    def _step(self, items: list[Item], scales: dict[int, float]) -> None:
        works, sums = [], []
        for item in items:
            item.state["step"] += 1
            memory = self._memory(item)
            row = host.row(item.rule)(item.group, float(item.state["step"]), memory)
            buffers = {name: item.state[name] for name in item.rule.buffers}
            work = Work(item.rule, item.p, item.g, buffers, row, scales[id(item.group)])
            sums.append(work.first())
            works.append(work)
            if not item.rule.two_passes:
                work.second({})
        decided = self._decide(items, works, sums)
        for item, work, found in zip(items, works, decided, strict=True):
            if item.rule.two_passes:
                work.second(found)

    @staticmethod
    def _memory(item: Item) -> Mapping[str, float]:
        if item.rule.scope == "tensor":
            return {name: float(item.state[name]) for name in item.rule.memory}
        return {name: float(item.group[name]) for name in item.rule.memory}

    def _decide(
        self, items: list[Item], works: list[Work], sums: list[dict[str, float]]
    ) -> list[dict[str, float]]:
        groups: dict[int, dict[str, float]] = {}
        everything: dict[str, float] = {}
        for item, found in zip(items, sums, strict=True):
            mine = groups.setdefault(id(item.group), {})
            for name, value in found.items():
                mine[name] = mine.get(name, 0.0) + value
                everything[name] = everything.get(name, 0.0) + value
        decided: list[dict[str, float]] = []
        settled: dict[int, dict[str, float]] = {}
        for item, work, found in zip(items, works, sums, strict=True):
            rule = item.rule
            if rule.decide is None:
                decided.append({})
                continue
            key = id(item.group)
            if rule.scope == "tensor" or key not in settled:
                scoped = {"tensor": found, "group": groups[key], "all": everything}
                totals = {name: scoped[scope][name] for name, scope in rule.sums.items()}
                values = totals | dict(zip(rule.columns, work.row, strict=True)) | dict(self._memory(item))
                results = host.decide(rule)(*(values[a] for a in rule.decide.arguments))
                settled[key] = dict(zip(rule.decide.results, results, strict=True))
                if rule.scope == "tensor":
                    self._remember(item, settled[key])
            decided.append({name: settled[key][name] for name in rule.decided})
        for item in items:
            if item.rule.decide is not None and item.rule.scope != "tensor":
                self._remember(item, settled[id(item.group)])
        return decided

    @staticmethod
    def _remember(item: Item, results: Mapping[str, float]) -> None:
        for name in item.rule.memory:
            if item.rule.scope == "tensor":
                item.state[name].fill_(results[name])
            else:
                item.group[name] = results[name]


def _wide(g: torch.Tensor) -> torch.dtype:
    return torch.complex128 if g.is_complex() else torch.float64

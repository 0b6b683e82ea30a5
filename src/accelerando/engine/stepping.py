"""One step over all groups: measure, first pass, decide, second pass."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from accelerando.engine import host
from accelerando.engine.anatomy import Rule
from accelerando.engine.lots import Rows, Segment, Table
from accelerando.engine.plan import Plan, RuleOf


def step(optimizer: Any, rule_of: RuleOf) -> None:
    """Make one step of ``optimizer``, or leave everything as it is."""
    plan: Plan | None = optimizer.__dict__.get("_plan")
    if plan is None or not plan.refresh():
        plan = _plan(optimizer, rule_of)
    if plan is not None and (factors := _gradient_factors(plan)) is not None:
        if plan.tensors:
            with torch.no_grad():
                _Step(plan, factors).run()
        else:
            _Step(plan, factors).run()


@torch.no_grad()
def _plan(optimizer: Any, rule_of: RuleOf) -> Plan | None:
    """A new plan; None if this step is the checkpoint library's rehearsal, which must not count."""
    fresh = not optimizer.state
    plan = optimizer._plan = Plan(optimizer, rule_of)
    return None if fresh and plan.is_rehearsal() else plan


def _gradient_factors(plan: Plan) -> dict[int, float] | None:
    """Group id → what its gradients are multiplied by; None if this step is to be skipped."""
    settings = [(g["maximize"], g["max_grad_norm"], g["on_nonfinite"]) for g in plan.groups]
    if settings == plan.plain:
        return plan.ones
    factors = {id(g): -1.0 if g["maximize"] else 1.0 for g in plan.groups}
    clipped = {id(g): g["max_grad_norm"] for g in plan.groups if g["max_grad_norm"] is not None}
    policies = {id(g): g["on_nonfinite"] for g in plan.groups if g["on_nonfinite"] != "propagate"}
    if not clipped and not policies:
        return factors
    square = 0.0
    for lot in plan.lots:
        squares, bad = lot.measure()
        for item, s, count in zip(lot.items, squares.tolist(), bad.tolist(), strict=True):
            policy = policies.get(id(item.group))
            if count and policy == "skip":
                return None
            if count and policy == "raise":
                raise FloatingPointError(
                    f"{plan.owner}: a gradient is not finite ({item.place}); nothing was changed; lower the rate, "
                    "look at the loss, or set on_nonfinite='skip'"
                )
            square += s if id(item.group) in clipped else 0.0
    for key, limit in clipped.items():
        factor = float(limit) / (math.sqrt(square) + 1e-6)
        factors[key] = math.copysign(1.0 if factor > 1 else factor, factors[key])
    return factors


class _Step:
    """A step under way."""

    def __init__(self, plan: Plan, factors: Mapping[int, float]) -> None:
        self.plan, self.factors = plan, factors
        self.first_rows: dict[int, tuple[float, ...]] = {}
        """Group id → the scalars of its first parameter, which decisions of the group see."""
        self.decided_first: dict[int, tuple[float, ...]] = {}
        self.remembered: list[tuple[dict[str, Any], Mapping[str, float]]] = []

    def run(self) -> None:
        plan = self.plan
        if plan.all_counted:
            plan.pool.ages += 1
        else:
            plan.pool.ages[plan.counted] += 1
        ages = plan.pool.ages.tolist()
        sums: list[Table | None] = []
        for lot, parts in zip(plan.lots, plan.segments, strict=True):
            if lot.settles:
                self._lend_memory(lot)
            sums.append(lot.first(self._rows(lot, parts, ages)))
            if lot.settles:
                self._take_memory_back(lot)
        if any(lot.rule.sums and not lot.settles for lot in plan.lots):
            self._decide(sums)
        for group, memory in self.remembered:
            group.update(memory)
        if plan.raw:
            torch.autograd.graph.increment_version(plan.raw)

    def _rows(self, lot: Any, parts: list[Segment], ages: list[float]) -> Rows:
        rule, values = lot.rule, []
        row, which = host.row(rule), lot.uniform
        for part in parts:
            group, mine = part.group, [ages[k] for k in part.ages]
            if part.per_item or mine.count(mine[0]) != len(mine):
                return self._uneven_rows(rule, parts, ages)
            made = row(group, mine[0], group)
            self.first_rows.setdefault(id(group), made)
            early = self._decide_first(rule, group) if rule.decides_first else ()
            values.append((self.factors[id(group)], *made, *early))
        return Rows(values, which)

    def _uneven_rows(self, rule: Rule, parts: list[Segment], ages: list[float]) -> Rows:
        """As `_rows`, where parameters of one group differ in age or memory."""
        values: list[tuple[float, ...]] = []
        which: list[int] = []
        row = host.row(rule)
        for part in parts:
            group, mine = part.group, [ages[k] for k in part.ages]
            if part.per_item:
                made = [(age, self._memory(rule, group, k)) for age, k in zip(mine, part.ages, strict=True)]
                which += range(len(values), len(values) + len(made))
            else:
                kinds = {age: len(values) + k for k, age in enumerate(dict.fromkeys(mine))}
                made = [(age, group) for age in kinds]
                which += [kinds[age] for age in mine]
            rows = [row(group, age, memory) for age, memory in made]
            self.first_rows.setdefault(id(group), rows[0])
            early = self._decide_first(rule, group) if rule.decides_first else ()
            values += [(self.factors[id(group)], *r, *early) for r in rows]
        return Rows(values, which)

    def _memory(self, rule: Rule, group: Mapping[str, Any], index: int) -> Mapping[str, Any]:
        if rule.scope != "tensor":
            return group
        return {n: float(self.plan.pool.memory[n][index]) for n in rule.memory}

    def _decide_first(self, rule: Rule, group: dict[str, Any]) -> tuple[float, ...]:
        key = id(group)
        if key not in self.decided_first:
            results = _ask(rule, {}, self.first_rows[key], group)
            self.remembered.append((group, {n: results[n] for n in rule.memory}))
            self.decided_first[key] = tuple(results[n] for n in rule.decided)
        return self.decided_first[key]

    def _decide(self, sums: list[Table | None]) -> None:
        """Decide for every tensor or group, remember, and finish the lots that waited."""
        per_group, everything = self._totals(sums)
        settled: dict[int, Mapping[str, float]] = {}
        for lot, parts, table in zip(self.plan.lots, self.plan.segments, sums, strict=True):
            rule = lot.rule
            if not rule.sums or lot.settles or table is None:
                continue
            decided = np.zeros((len(lot.items), len(rule.decided)))
            for part in parts:
                if rule.scope == "tensor":
                    self._decide_tensors(lot, part, table, per_group, everything, decided)
                    continue
                key = id(part.group)
                if key not in settled:
                    settled[key] = self._decide_group(rule, part.group, per_group.get(key, {}), everything)
                decided[part.begin : part.end] = [settled[key][n] for n in rule.decided]
            if rule.two_passes:
                lot.second(decided)
        for group in self.plan.optimizer.param_groups:
            rule = self.plan.rule_of(group)
            if id(group) not in settled and "all" in rule.sums.values() and rule.scope != "tensor":
                self._decide_group(rule, group, {}, everything)

    def _totals(self, sums: list[Table | None]) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
        """Group id → term → its sum over the group; term → its sum over everything."""
        per_group: dict[int, dict[str, float]] = {}
        everything: dict[str, float] = {}
        for lot, parts, table in zip(self.plan.lots, self.plan.segments, sums, strict=True):
            if not lot.rule.sums or lot.settles or table is None:
                continue
            for part in parts:
                mine = per_group.setdefault(id(part.group), {})
                for k, name in enumerate(lot.rule.sums):
                    value = math.fsum(table[part.begin : part.end, k])
                    mine[name] = mine.get(name, 0.0) + value
                    everything[name] = everything.get(name, 0.0) + value
        return per_group, everything

    def _decide_group(
        self, rule: Rule, group: dict[str, Any], mine: Mapping[str, float], everything: Mapping[str, float]
    ) -> Mapping[str, float]:
        scoped = {"group": mine, "all": everything}
        totals = {name: scoped[scope].get(name, 0.0) for name, scope in rule.sums.items()}
        row = self.first_rows.get(id(group))
        if row is None:  # a group without a gradient is as old as its oldest parameter
            states = [self.plan.optimizer.state[p] for p in group["params"] if p in self.plan.optimizer.state]
            age = max((float(s["step"]) for s in states if s), default=0.0)
            row = host.row(rule)(group, max(age, 1.0), group)
        results = _ask(rule, totals, row, group)
        self.remembered.append((group, {n: results[n] for n in rule.memory}))
        return results

    def _decide_tensors(
        self, lot: Any, part: Segment, table: Table, per_group: Mapping[int, Mapping[str, float]],
        everything: Mapping[str, float], decided: Table,
    ) -> None:  # fmt: skip
        rule, memory = lot.rule, self.plan.pool.memory
        for k in range(part.begin, part.end):
            own = dict(zip(rule.sums, table[k].tolist(), strict=True))
            scoped = {"tensor": own, "group": per_group[id(part.group)], "all": everything}
            totals = {name: scoped[scope][name] for name, scope in rule.sums.items()}
            index = lot.items[k].index
            age = float(self.plan.pool.ages[index])
            kept = self._memory(rule, part.group, index)
            results = _ask(rule, totals, host.row(rule)(part.group, age, kept), kept)
            for n in rule.memory:
                memory[n][index] = results[n]
            decided[k] = [results[n] for n in rule.decided]

    def _lend_memory(self, lot: Any) -> None:
        for k, name in enumerate(lot.rule.memory):
            lot.memory[k] = self.plan.pool.memory[name][[i.index for i in lot.items]]

    def _take_memory_back(self, lot: Any) -> None:
        for k, name in enumerate(lot.rule.memory):
            self.plan.pool.memory[name][[i.index for i in lot.items]] = lot.memory[k]


def _ask(
    rule: Rule, totals: Mapping[str, float], row: tuple[float, ...], memory: Mapping[str, Any]
) -> dict[str, float]:
    """`decide`, with sums, scalars and memory by name."""
    if rule.decide is None:
        raise AssertionError(rule.name)
    values = (
        dict(zip(rule.columns, row, strict=True)) | {n: float(memory[n]) for n in rule.memory} | dict(totals)
    )
    made = host.decide(rule)(*(values[a] for a in rule.decide.arguments))
    return dict(zip(rule.decide.results, made, strict=True))

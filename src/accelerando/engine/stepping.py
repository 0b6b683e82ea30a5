"""One step over all groups: measure, first pass, decide, second pass."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from accelerando.engine import host
from accelerando.engine.anatomy import Rule
from accelerando.engine.exchange import Member
from accelerando.engine.lots import Rows, Segment, Table
from accelerando.engine.plan import Plan, RuleOf
from accelerando.engine.state import begin

Absent = tuple[Member, dict[str, float]]
"""A parameter that other ranks alone have stepped, and its sums."""


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
    first, fresh = optimizer.__dict__.get("_plan") is None, not optimizer.state
    plan = optimizer._plan = Plan(optimizer, rule_of)
    return None if plan.rehearses(first, fresh) else plan


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
    squares = []
    for group, place, square, count in _measure(plan, {*clipped, *policies}):
        policy = policies.get(id(group))
        if count and policy == "skip":
            return None
        if count and policy == "raise":
            raise FloatingPointError(
                f"{plan.owner}: a gradient is not finite ({place}); nothing was changed; lower the rate, "
                "look at the loss, or set on_nonfinite='skip'"
            )
        squares.append(square if id(group) in clipped else 0.0)
    for key, limit in clipped.items():
        factor = float(limit) / (math.sqrt(_total(squares)) + 1e-6)
        factors[key] = math.copysign(1.0 if factor > 1 else factor, factors[key])
    return factors


def _measure(plan: Plan, asking: set[int]) -> list[tuple[dict[str, Any], str, float, float]]:
    """Each whole gradient's group, place, sum of squares, and how many of its elements are not finite."""
    tables: list[Table | None] = [np.stack(lot.measure(), axis=1) for lot in plan.lots]
    shared = plan.measuring if any(id(m.group) in asking for m in plan.members) else None
    rows = {} if shared is None else shared.row
    found = [
        (item.group, item.place, *measured)
        for lot, table in zip(plan.lots, tables, strict=True)
        for item, measured in zip(lot.items, table.tolist(), strict=True)  # type: ignore[union-attr]
        if item.position not in rows
    ]
    if shared is not None:
        whole = shared.complete(tables).tolist()
        for member, (_, *measured) in zip(shared.members, whole, strict=True):
            found.append((member.group, member.place, *measured))
    return found


def _total(values: Iterable[float]) -> float:
    """The sum, rounded once, so that no order of the values matters; infinite or not a number as they are."""
    values = list(values)
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # beyond float64, or infinite both ways
        return sum(values)


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
        if plan.exchange is not None or any(lot.rule.sums and not lot.settles for lot in plan.lots):
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
        absent = self._complete(sums)
        per_group, everything = self._totals(sums, absent)
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
            rule, key = self.plan.rule_of(group), id(group)
            asked = "all" in rule.sums.values() or key in per_group
            if key not in settled and asked and rule.scope != "tensor":
                self._decide_group(rule, group, per_group.get(key, {}), everything)
        for member, own in absent:
            self._follow(member, own, per_group, everything)

    def _complete(self, sums: list[Table | None]) -> list[Absent]:
        """Complete the sums of sharded parameters; those that other ranks alone have stepped, with theirs.

        Such a parameter counts the step here too, and its share stays where it is: every rank decides the same.
        """
        shared = self.plan.exchange
        if shared is None:
            return []
        absent, state = [], self.plan.optimizer.state
        tables = [None if lot.settles else t for lot, t in zip(self.plan.lots, sums, strict=True)]
        here = {k for positions in self.plan.positions for k in positions}
        groups: dict[int, Member] = {}
        whole = shared.complete(tables).tolist()
        for member, (count, *own) in zip(shared.members, whole, strict=True):
            if not count:
                continue
            if member.position not in here:
                absent.append((member, dict(zip(member.rule.sums, own, strict=False))))
                if not state[member.p]:
                    state[member.p].update(begin(member.p, member.rule, member.group))
                state[member.p]["step"] += 1
            groups.setdefault(id(member.group), member)
        for key, m in groups.items():
            if m.rule.scope != "tensor":  # the first parameter stepped anywhere, not the first one here
                self.first_rows[key] = host.row(m.rule)(m.group, float(state[m.p]["step"]), m.group)
        return absent

    def _totals(
        self, sums: list[Table | None], absent: list[Absent]
    ) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
        """Group id → term → its sum over the group; term → its sum over everything."""
        terms: dict[tuple[int, str], list[float]] = {}
        for lot, parts, table in zip(self.plan.lots, self.plan.segments, sums, strict=True):
            if not lot.rule.sums or lot.settles or table is None:
                continue
            for part in parts:
                for k, name in enumerate(lot.rule.sums):
                    terms.setdefault((id(part.group), name), []).extend(
                        table[part.begin : part.end, k].tolist()
                    )
        for member, own in absent:
            for name, value in own.items():
                terms.setdefault((id(member.group), name), []).append(value)
        per_group: dict[int, dict[str, float]] = {}
        everything: dict[str, list[float]] = {}
        for (key, name), values in terms.items():
            per_group.setdefault(key, {})[name] = _total(values)
            everything.setdefault(name, []).extend(values)
        return per_group, {name: _total(values) for name, values in everything.items()}

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
            totals = _scoped(rule, own, per_group[id(part.group)], everything)
            index = lot.items[k].index
            age = float(self.plan.pool.ages[index])
            kept = self._memory(rule, part.group, index)
            results = _ask(rule, totals, host.row(rule)(part.group, age, kept), kept)
            for n in rule.memory:
                memory[n][index] = results[n]
            decided[k] = [results[n] for n in rule.decided]

    def _follow(
        self, member: Member, own: Mapping[str, float], per_group: Mapping[int, Mapping[str, float]],
        everything: Mapping[str, float],
    ) -> None:  # fmt: skip
        """Remember what other ranks decided for a parameter whose share has no gradient here."""
        rule, kept = member.rule, self.plan.optimizer.state[member.p]
        if rule.scope != "tensor" or not rule.memory:
            return
        totals = _scoped(rule, own, per_group[id(member.group)], everything)
        memory = {n: float(kept[n]) for n in rule.memory}
        results = _ask(rule, totals, host.row(rule)(member.group, float(kept["step"]), memory), memory)
        for n in rule.memory:
            kept[n].fill_(results[n])

    def _lend_memory(self, lot: Any) -> None:
        for k, name in enumerate(lot.rule.memory):
            lot.memory[k] = self.plan.pool.memory[name][[i.index for i in lot.items]]

    def _take_memory_back(self, lot: Any) -> None:
        for k, name in enumerate(lot.rule.memory):
            self.plan.pool.memory[name][[i.index for i in lot.items]] = lot.memory[k]


def _scoped(
    rule: Rule, own: Mapping[str, float], group: Mapping[str, float], everything: Mapping[str, float]
) -> dict[str, float]:
    scoped = {"tensor": own, "group": group, "all": everything}
    return {name: scoped[scope][name] for name, scope in rule.sums.items()}


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

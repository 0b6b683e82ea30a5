"""One step over all groups: measure, first pass, decide, second pass."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from accelerando.engine import host
from accelerando.engine.anatomy import Rule
from accelerando.engine.choice import why_not_on_device
from accelerando.engine.collecting import RuleOf, collect, is_rehearsal
from accelerando.engine.cuda.plan import DevicePlan
from accelerando.engine.exchange import Member
from accelerando.engine.lots import Rows, Segment, Table
from accelerando.engine.plan import Plan
from accelerando.engine.state import begin
from accelerando.engine.telemetry import Telemetry

Absent = tuple[Member, dict[str, float]]
"""A parameter that other ranks alone have stepped, and its sums."""


def step(optimizer: Any, rule_of: RuleOf) -> None:
    """Make one step of ``optimizer``, or leave everything as it is."""
    plan: Plan | DevicePlan | None = optimizer.__dict__.get("_plan")
    if plan is None or not plan.refresh():
        plan = _plan(optimizer, rule_of)
    if isinstance(plan, DevicePlan):
        plan.run()
        return
    if plan is not None and plan.captured and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            f"{plan.owner}: this step makes numbers on the host, which a CUDA graph would freeze; capture forward and "
            "backward only"
        )
    telemetry, optimizer._telemetry = optimizer._telemetry, None
    if plan is not None and (factors := _gradient_factors(plan)) is not None:
        if plan.tensors:
            with torch.no_grad():
                _Step(plan, factors, telemetry).run()
        else:
            _Step(plan, factors, telemetry).run()


@torch.no_grad()
def _plan(optimizer: Any, rule_of: RuleOf) -> Plan | DevicePlan | None:
    """A new plan; None if this step is the checkpoint library's rehearsal, which must not count."""
    first, fresh = optimizer.__dict__.get("_plan") is None, not optimizer.state
    items = collect(optimizer, rule_of)
    if why_not_on_device(type(optimizer).__name__, items, optimizer.param_groups) is None:
        if fresh and is_rehearsal(items):
            return None
        optimizer._plan = DevicePlan(optimizer, rule_of, items)
        return optimizer._plan  # type: ignore[no-any-return]
    plan = optimizer._plan = Plan(optimizer, rule_of, items)
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

    def __init__(self, plan: Plan, factors: Mapping[int, float], telemetry: Telemetry | None = None) -> None:
        self.plan, self.factors, self.telemetry = plan, factors, telemetry
        self.lots: Sequence[Any] = plan.lots if telemetry is None else [lot.telling() for lot in plan.lots]
        self.first_rows: dict[int, tuple[float, ...]] = {}
        """Group id → the scalars of its first parameter, which decisions of the group see."""
        self.decided_first: dict[int, tuple[float, ...]] = {}
        self.remembered: list[tuple[dict[str, Any], Mapping[str, float]]] = []

    def run(self) -> None:
        plan = self.plan
        pool = plan.pool.ages
        if plan.all_counted:
            np.add(pool, plan.pool.one, pool)
        else:
            pool[plan.counted] += 1
        ages = pool.tolist()
        sums: list[Table | None] = []
        for lot, parts in zip(self.lots, plan.segments, strict=True):
            if lot.draws:
                lot.ages = [ages[k] for part in parts for k in part.ages]
            if lot.settles:
                self._lend_memory(lot)
            sums.append(lot.first(self._rows(lot, parts, ages)))
            if lot.settles:
                self._take_memory_back(lot)
        if plan.summing or plan.exchange is not None:
            self._decide(sums)
        for group, memory in self.remembered:
            group.update(memory)
        if self.telemetry is not None:
            for lot in self.lots:
                self.telemetry.tell(*lot.told())
            self.telemetry.end(plan, ages)
        if plan.raw:
            torch.autograd.graph.increment_version(plan.raw)

    def _rows(self, lot: Any, parts: list[Segment], ages: list[float]) -> Rows:
        rule, values = lot.rule, []
        row, which = host.row(rule), lot.uniform
        alike = ages.count(ages[0]) == len(ages)
        for part in parts:
            group, mine = part.group, ages if alike else [ages[k] for k in part.ages]
            if part.per_item or not (alike or mine.count(mine[0]) == len(mine)):
                return self._uneven_rows(rule, parts, ages)
            made = row(group, mine[0], group)
            self.first_rows.setdefault(id(group), made)
            early = self._decide_first(rule, group) if rule.decides_first else ()
            values.append((self.factors[id(group)], *made, *early, *self._keep(group)))
        return Rows(values, which)

    def _uneven_rows(self, rule: Rule, parts: list[Segment], ages: list[float]) -> Rows:
        """As `_rows`, where parameters of one group differ in age or memory."""
        values: list[tuple[float, ...]] = []
        which: list[int] = []
        row = host.row(rule)
        for part in parts:
            group = part.group
            mine = self._histories(rule if part.per_item else None, [ages[k] for k in part.ages], part.ages)
            kinds = {key: len(values) + k for k, key in enumerate(dict.fromkeys(mine))}
            which += [kinds[key] for key in mine]
            rows = [
                row(group, key[0], dict(zip(rule.memory, key[1:], strict=True)) if part.per_item else group)
                for key in kinds
            ]
            self.first_rows.setdefault(id(group), rows[0])
            early = self._decide_first(rule, group) if rule.decides_first else ()
            values += [(self.factors[id(group)], *r, *early, *self._keep(group)) for r in rows]
        return Rows(values, which)

    def _histories(self, rule: Rule | None, ages: list[float], places: list[int]) -> list[tuple[float, ...]]:
        """Age and memory of each parameter: where they are alike, scalars and decisions are, too."""
        kept = [self.plan.pool.memory[n][places].tolist() for n in (rule.memory if rule else ())]
        return list(zip(ages, *kept, strict=True))

    def _keep(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return () if self.telemetry is None else (self.telemetry.keeps[id(group)],)

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
        for lot, parts, table in zip(self.lots, self.plan.segments, sums, strict=True):
            rule = lot.rule
            if not rule.sums or lot.settles or table is None:
                continue
            waits = rule.two_passes
            decided = np.zeros((len(lot.items) * waits, len(rule.decided)))
            for part in parts:
                if rule.scope == "tensor":
                    self._decide_tensors(lot, part, table, per_group, everything, decided)
                    continue
                key = id(part.group)
                if key not in settled:
                    settled[key] = self._decide_group(rule, part.group, per_group.get(key, {}), everything)
                if waits:
                    decided[part.begin : part.end] = [settled[key][n] for n in rule.decided]
            if waits:
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
        tables = [None if lot.settles else t for lot, t in zip(self.lots, sums, strict=True)]
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
        for lot, parts, table in zip(self.lots, self.plan.segments, sums, strict=True):
            if not lot.rule.sums or lot.settles or table is None:
                continue
            for name, column in zip(lot.rule.sums, table.T.tolist(), strict=True):
                for part in parts:
                    terms.setdefault((id(part.group), name), []).extend(column[part.begin : part.end])
        for member, own in absent:
            for name, value in own.items():
                terms.setdefault((id(member.group), name), []).append(value)
        per_group: dict[int, dict[str, float]] = {}
        for (key, name), values in terms.items():
            per_group.setdefault(key, {})[name] = _total(values)
        if len(per_group) == 1:
            return per_group, next(iter(per_group.values()))
        everything: dict[str, list[float]] = {}
        for (_, name), values in terms.items():
            everything.setdefault(name, []).extend(values)
        return per_group, {name: _total(values) for name, values in everything.items()}

    def _decide_group(
        self, rule: Rule, group: dict[str, Any], mine: Mapping[str, float], everything: Mapping[str, float]
    ) -> Mapping[str, float]:
        totals = {
            name: (everything if scope == "all" else mine).get(name, 0.0) for name, scope in rule.sums.items()
        }
        row = self.first_rows.get(id(group))
        if row is None:  # a group without a gradient is as old as its oldest parameter
            states = [self.plan.optimizer.state[p] for p in group["params"] if p in self.plan.optimizer.state]
            age = max((float(s["step"]) for s in states if s), default=0.0)
            row = host.row(rule)(group, max(age, 1.0), group)
        results = _ask(rule, totals, row, group)
        kept = {n: results[n] for n in rule.memory} if rule.decided else results
        self.remembered.append((group, kept))
        return results

    def _decide_tensors(
        self, lot: Any, part: Segment, table: Table, per_group: Mapping[int, Mapping[str, float]],
        everything: Mapping[str, float], decided: Table,
    ) -> None:  # fmt: skip
        rule, memory = lot.rule, self.plan.pool.memory
        asked = [k for k, n in enumerate(rule.sums) if rule.decide and n in rule.decide.arguments]
        ages = self.plan.pool.ages[part.ages].tolist()
        settled: dict[tuple[float, ...], Mapping[str, float]] = {}
        found = []
        for key, sums in zip(
            self._histories(rule, ages, part.ages), table[part.begin : part.end].tolist(), strict=True
        ):
            whole = (*key, *(sums[k] for k in asked))
            if whole not in settled:
                own = dict(zip(rule.sums, sums, strict=True))
                totals = _scoped(rule, own, per_group[id(part.group)], everything)
                kept = dict(zip(rule.memory, key[1:], strict=True))
                settled[whole] = _ask(rule, totals, host.row(rule)(part.group, key[0], kept), kept)
            found.append(settled[whole])
        for n in rule.memory:
            memory[n][part.ages] = [results[n] for results in found]
        if len(decided):
            decided[part.begin : part.end] = [[results[n] for n in rule.decided] for results in found]

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
    """What `decide` returns, by name."""
    if rule.decide is None:
        raise AssertionError(rule.name)
    return dict(zip(rule.decide.results, host.ask(rule)(totals, row, memory), strict=True))

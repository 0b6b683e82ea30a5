"""The eager backend: runs a rule on tensors, one operation at a time. It is the specification.

Any dtype, any device. Numbers are met in the compute dtype: float32, or float64 for float64 parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from accelerando.engine import hashing, stores
from accelerando.engine.anatomy import Rule
from accelerando.engine.grammar import Function
from accelerando.engine.lots import Item, Rows, Table
from accelerando.engine.lowering import Dialect, Names, render
from accelerando.engine.telemetry import FIRST_MOMENT, TOLD

Tensor = torch.Tensor
TENSORS = Dialect("number({}, like)")


@cache
def number(value: float, like: torch.dtype) -> Tensor:
    """A scalar of the compute dtype: rounded once, and never a promoter of other values."""
    return torch.tensor(value, dtype=like)


def sign(x: Tensor) -> Tensor:
    """-1, 0, 1, or not a number."""
    return torch.where(x != x, x, torch.sign(x))


_TABLE: dict[str, Callable[..., Any]] = {
    "div": torch.div, "power": torch.pow, "sqrt": torch.sqrt, "exp": torch.exp, "log": torch.log,
    "abs": torch.abs, "sign": sign, "minimum": torch.minimum, "maximum": torch.maximum, "where": torch.where,
    "number": number,
}  # fmt: skip


@cache
def on_tensors(function: Function) -> Callable[..., tuple[Tensor, ...]]:
    """The function on tensors: ``(like, *arguments)`` → its results in order."""
    namespace: dict[str, Any] = dict(_TABLE)
    exec(
        compile(source(function), f"<{function.place} on tensors>", "exec"), namespace
    )  # text of a checked tree
    made: Callable[..., tuple[Tensor, ...]] = namespace[function.name]
    return made


def source(function: Function) -> str:
    """The text of `on_tensors`."""
    names = Names({*function.arguments, "like", *_TABLE})
    lines, results = render(function, {a: a for a in function.arguments}, names, TENSORS)
    lines.append(f"return ({''.join(f'{results[r]}, ' for r in function.results)})")
    text = f"def {function.name}({', '.join(('like', *function.arguments))}):\n"
    return text + "".join(f"    {line}\n" for line in lines)


def compute_dtype(storage: torch.dtype) -> torch.dtype:
    """The dtype that rules compute in and state is kept in."""
    return torch.promote_types(storage, torch.float32)


class EagerLot:
    """Items stepped one tensor operation at a time, in any dtype, on any device and layout."""

    settles = False

    def __init__(self, rule: Rule, items: Sequence[Item], tells: bool = False) -> None:
        self.rule, self.items, self.tells = rule, items, tells
        self.works: list[_Work] = []
        self.draws = any(item.policy.draws for item in items)
        self.ages: Sequence[float] = []
        self.uniform: list[int] = []
        self._told: list[Tensor] = []

    def telling(self) -> "EagerLot":
        """The same items, whose steps also tell what they did."""
        made = EagerLot(self.rule, self.items, tells=True)
        made.uniform = self.uniform
        return made

    def told(self) -> tuple[Sequence[Tensor], Table, bool]:
        """Parameters, what the last step did with them, by `TOLD`, and whether they have a first moment."""
        sums = _read(self._told).reshape(len(self.items), len(TOLD))
        return [i.p for i in self.items], sums, FIRST_MOMENT in self.rule.buffers

    def refresh(self, grads: Sequence[Tensor]) -> bool:
        """Take this step's gradients; any will do, but none may be missing."""
        if any(g is None for g in grads):
            return False
        for item, g in zip(self.items, grads, strict=True):
            item.g = g
        return True

    def measure(self) -> tuple[Table, Table]:
        """Each gradient's sum of squares, and how many of its elements are not finite."""
        squares, bad = np.zeros(len(self.items)), np.zeros(len(self.items))
        for k, item in enumerate(self.items):
            g = _real(item.g)
            norm = torch.linalg.vector_norm(g, dtype=torch.float64)
            squares[k] = float(norm.square())  # infinite, where a float's square raises
            bad[k] = float((~torch.isfinite(g)).sum())
        return squares, bad

    def first(self, rows: Rows) -> Table | None:
        """Run `direction`, store the buffers, and `apply` where nothing is waited for; each item's sums."""
        early = self.rule.decided if self.rule.decides_first else ()
        columns = (*self.rule.columns, *early, *(("keep_",) if self.tells else ()))
        self.works, self._told = [], []
        sums: list[Tensor] = []
        draws = self._draws()
        for k, (item, row) in enumerate(zip(self.items, rows.which, strict=True)):
            factor, *scalars = rows.values[row]
            work = _Work(item, factor, dict(zip(columns, scalars, strict=True)), draws[k])
            sums += work.first()
            if self.rule.two_passes:
                self.works.append(work)
            else:
                self._told += work.second({})
        return _read(sums).reshape(len(self.items), len(self.rule.sums))

    def second(self, decided: Table) -> None:
        """Run `apply` with each item's decisions."""
        for work, row in zip(self.works, decided, strict=True):
            self._told += work.second(dict(zip(self.rule.decided, row.tolist(), strict=True)))
        self.works = []

    def _draws(self) -> list[stores.Draws | None]:
        """This step's random bits of each item that needs them."""
        if not self.draws:
            return [None] * len(self.items)
        items = self.items
        keys = hashing.keys([i.group["store_seed"] for i in items], self.ages, [i.position for i in items])
        return [
            stores.Draws(item.p, item.offset, first, second) if item.policy.draws else None
            for item, first, second in zip(items, *keys.tolist(), strict=True)
        ]


class _Work:
    """One parameter on its way through a step."""

    def __init__(
        self, item: Item, factor: float, scalars: Mapping[str, float], draws: stores.Draws | None
    ) -> None:
        self.item, self.rule, self.factor, self.scalars = item, item.rule, factor, scalars
        self.policy, self.draws = item.policy, draws
        self.like = compute_dtype(_real(item.p).dtype)
        self.values: dict[str, Tensor] = {}

    def first(self) -> list[Tensor]:
        """Run `direction`; store the buffers; return this tensor's sums, not yet read from its device."""
        rule, like, buffers = self.rule, self.like, self.item.buffers()
        p, g = self._parameter(), _real(self.item.g).to(like)
        values = {c: number(v, like) for c, v in self.scalars.items()}
        old = {name: _real(buffer).to(like) for name, buffer in buffers.items()}
        values |= {"p": p, "g": g * number(self.factor, like), **old}
        arguments = rule.direction.arguments
        made = on_tensors(rule.direction)(like, *(values[a] for a in arguments))
        values |= dict(zip(rule.direction.results, made, strict=True))
        values |= {name: old[buffer].clone() for name, buffer in rule.old.items() if name in rule.carried}
        for slot, (name, buffer) in enumerate(buffers.items(), 1):
            self._store(buffer, values[name], self.policy.narrows(rule, name), slot)
        self.values = values
        return [
            values[s].double().expand(p.shape).sum() for s in rule.sums
        ]  # a number counts at every element

    def second(self, decided: Mapping[str, float]) -> list[Tensor]:
        """Run `apply` with what was decided, and store the parameter; what it did, if that is to be told."""
        values = self.values | {n: number(v, self.like) for n, v in decided.items()}
        (new,) = on_tensors(self.rule.apply)(self.like, *(values[a] for a in self.rule.apply.arguments))
        before = values["p"].clone() if "keep_" in self.scalars else None
        if self.policy.p == "compensated":
            stores.store_compensated(self.item.p, self.item.state[stores.REMAINDER], new)
        else:
            self._store(self.item.p, new, self.policy.p == "stochastic", 0)
        told = [] if before is None else self._told(values, before)
        self.values = {}
        return told

    def _told(self, values: Mapping[str, Tensor], before: Tensor) -> list[Tensor]:
        """The sums of `TOLD`, in order, not yet read from their device."""
        g, u = _real(self.item.g).double(), values[self.rule.direction.results[0]].double()
        m = values[FIRST_MOMENT].double() if FIRST_MOMENT in self.rule.buffers else torch.zeros_like(g)
        d, p = (self._parameter() - values["keep_"] * before).double(), before.double()
        pairs = ((g, g), (u, u), (m, m), (~torch.isfinite(g), 1), (g, d), (d, d), (p, p))
        return [(a * b).double().sum() for a, b in pairs]

    def _parameter(self) -> Tensor:
        if self.policy.p == "compensated":
            return stores.master(self.item.p, self.item.state[stores.REMAINDER])
        return _real(self.item.p).to(self.like)

    def _store(self, target: Tensor, value: Tensor, by_chance: bool, slot: int) -> None:
        if not by_chance:
            _real(target).copy_(value)
        elif self.draws is not None:
            stores.store_stochastic(target, value, self.draws(slot))
        else:
            raise AssertionError(self.item.place)


def _read(numbers: Sequence[Tensor]) -> Table:
    """The numbers, waiting once for each device, not once for each."""
    places: dict[torch.device, list[int]] = {}
    for k, one in enumerate(numbers):
        places.setdefault(one.device, []).append(k)
    found = np.zeros(len(numbers))
    for at in places.values():
        found[at] = torch.stack([numbers[k] for k in at]).cpu().numpy()
    return found


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x

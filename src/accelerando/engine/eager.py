"""The eager backend: runs a rule on tensors, one operation at a time. It is the specification.

Any dtype, any device. Numbers are met in the compute dtype: float32, or float64 for float64 parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.grammar import Function
from accelerando.engine.lots import Item, Rows, Table
from accelerando.engine.lowering import Dialect, Names, render

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

    def __init__(self, rule: Rule, items: Sequence[Item]) -> None:
        self.rule, self.items = rule, items
        self.works: list[_Work] = []
        self.uniform: list[int] = []

    def refresh(self, grads: Sequence[Tensor]) -> bool:
        """Take this step's gradients; any will do."""
        for item, g in zip(self.items, grads, strict=True):
            item.g = g
        return True

    def measure(self) -> tuple[Table, Table]:
        """Each gradient's sum of squares, and how many of its elements are not finite."""
        squares, bad = np.zeros(len(self.items)), np.zeros(len(self.items))
        for k, item in enumerate(self.items):
            g = _real(item.g)
            squares[k] = float(torch.linalg.vector_norm(g, dtype=torch.float64)) ** 2
            bad[k] = float((~torch.isfinite(g)).sum())
        return squares, bad

    def first(self, rows: Rows) -> Table | None:
        """Run `direction`, store the buffers, and `apply` where nothing is waited for; each item's sums."""
        columns = (*self.rule.columns, *(self.rule.decided if self.rule.decides_first else ()))
        self.works = []
        sums: list[Tensor] = []
        for item, row in zip(self.items, rows.which, strict=True):
            factor, *scalars = rows.values[row]
            work = _Work(item, factor, dict(zip(columns, scalars, strict=True)))
            sums += work.first()
            if self.rule.two_passes:
                self.works.append(work)
            else:
                work.second({})
        return _read(sums).reshape(len(self.items), len(self.rule.sums))

    def second(self, decided: Table) -> None:
        """Run `apply` with each item's decisions."""
        for work, row in zip(self.works, decided, strict=True):
            work.second(dict(zip(self.rule.decided, row.tolist(), strict=True)))
        self.works = []


class _Work:
    """One parameter on its way through a step."""

    def __init__(self, item: Item, factor: float, scalars: Mapping[str, float]) -> None:
        self.item, self.rule, self.factor, self.scalars = item, item.rule, factor, scalars
        self.like = compute_dtype(_real(item.p).dtype)
        self.values: dict[str, Tensor] = {}

    def first(self) -> list[Tensor]:
        """Run `direction`; store the buffers; return this tensor's sums, not yet read from its device."""
        rule, like, buffers = self.rule, self.like, self.item.buffers()
        p, g = _real(self.item.p).to(like), _real(self.item.g).to(like)
        values = {c: number(v, like) for c, v in self.scalars.items()}
        old = {name: _real(buffer).to(like) for name, buffer in buffers.items()}
        values |= {"p": p, "g": g * number(self.factor, like), **old}
        arguments = rule.direction.arguments
        made = on_tensors(rule.direction)(like, *(values[a] for a in arguments))
        values |= dict(zip(rule.direction.results, made, strict=True))
        values |= {name: old[buffer].clone() for name, buffer in rule.old.items() if name in rule.carried}
        for name, buffer in buffers.items():
            _real(buffer).copy_(values[name])
        self.values = values
        return [values[s].double().sum() for s in rule.sums]

    def second(self, decided: Mapping[str, float]) -> None:
        """Run `apply` with what was decided, and store the parameter."""
        values = self.values | {n: number(v, self.like) for n, v in decided.items()}
        (new,) = on_tensors(self.rule.apply)(self.like, *(values[a] for a in self.rule.apply.arguments))
        _real(self.item.p).copy_(new)
        self.values = {}


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

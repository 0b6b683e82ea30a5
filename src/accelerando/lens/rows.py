"""From a step's sums to the numbers a person reads: one flat row a tensor, a group and the optimizer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from accelerando.lens.causes import Chains, attribute, chains_of
from accelerando.lens.recipes import CAUSES
from accelerando.lens.sampled import AT, Array, Step, Tensors, joined

Row = dict[str, Any]

NUMBERS = (
    "lr", "gain", "alignment", "effective", "relative_update", "update_rms", "trust_ratio", "agreement",
    "decay", "decay_share", "grad_norm", "micro_grad_norm", "micro_batches", "nonfinite",
    "rate_q05", "rate_q50", "rate_q95",
)  # fmt: skip
CAUSE_FIELDS = tuple("log_" + cause.replace(" ", "_") for cause in CAUSES)
FIELDS = ("step", "scope", "optimizer", "group", "tensor", "size", *NUMBERS, *CAUSE_FIELDS)
"""The fields of a row, in order."""

Place = tuple[str, int | None, str | None, int]
"""A row's scope, group, tensor and size."""


class Lines(Sequence[Row]):
    """The rows of one sample: kept as one block of numbers, and made when they are read."""

    def __init__(self, optimizer: int, step: int, places: Sequence[Place], numbers: Array) -> None:
        self._optimizer, self._step, self._places, self._numbers = optimizer, step, places, numbers

    def head(self) -> list[Row]:
        """The optimizer's row and its groups'."""
        count = next((i for i, p in enumerate(self._places) if p[0] == "tensor"), len(self._places))
        return self._made(slice(0, count))

    def of(self, scope: str | None) -> list[Row]:
        """The rows of one scope, or all."""
        if scope is None:
            return list(self)
        at = [i for i, place in enumerate(self._places) if place[0] == scope]
        return self._made(slice(at[0], at[-1] + 1)) if at else []

    def _made(self, which: slice) -> list[Row]:
        return [
            dict(zip(FIELDS, (self._step, scope, self._optimizer, group, name, size, *numbers), strict=True))
            for (scope, group, name, size), numbers in zip(
                self._places[which], _nulled(self._numbers[which]), strict=True
            )
        ]

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._made(slice(None))[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._made(slice(None)))

    def __len__(self) -> int:
        return len(self._places)


def rows_of(step: Step) -> Lines:
    """The optimizer's row, its groups' and its tensors', of one sampled step."""
    return lines_of([step])[0]


def lines_of(steps: Sequence[Step]) -> list[Lines]:
    """The rows of several sampled steps, worked out together."""
    tensors = joined([step.tensors for step in steps])
    spans = _Spans.of(steps)
    with np.errstate(all="ignore"):
        columns = _columns(steps, tensors, chains_of(tensors), spans)
    table = np.array([columns[field] for field in (*NUMBERS, *CAUSE_FIELDS)]).T
    sizes, found = columns["size"].astype(np.int64).tolist(), []
    for step, rows in zip(steps, spans.rows, strict=True):
        names, groups = step.tensors.names, step.tensors.groups
        count = len(rows) - len(names)
        of = [sizes[row] for row in rows]
        places: list[Place] = [("optimizer", None, None, of[0])]
        places += [("group", g, None, n) for g, n in zip(dict.fromkeys(groups), of[1:count], strict=True)]
        places += [("tensor", g, name, n) for g, name, n in zip(groups, names, of[count:], strict=True)]
        found.append(Lines(step.optimizer, step.step, places, table[rows]))
    return found


@dataclass(frozen=True)
class _Spans:
    """Which tensors belong to which step and group, where all steps' tensors come one after another.

    Columns are laid out so: a number for each step, then for each group of each, then for each tensor.

    Attributes:
        steps: each step's first tensor.
        groups: each group's first tensor.
        rows: for each step, the places of its rows in a column.
    """

    steps: list[int]
    groups: list[int]
    rows: list[list[int]]

    @classmethod
    def of(cls, steps: Sequence[Step]) -> "_Spans":
        begins, groups, owners, at = [], [], [], 0
        for index, step in enumerate(steps):
            mine = step.tensors.groups
            begins.append(at)
            starts = [at + i for i, g in enumerate(mine) if i == 0 or g != mine[i - 1]]
            groups += starts
            owners += [index] * len(starts)
            at += len(mine)
        rows = []
        for index, (begin, end) in enumerate(zip(begins, [*begins[1:], at], strict=True)):
            own = [len(steps) + k for k, owner in enumerate(owners) if owner == index]
            first = len(steps) + len(groups)
            rows.append([index, *own, *range(first + begin, first + end)])
        return cls(begins, groups, rows)

    def scoped(self, column: Array) -> Array:
        """A column of tensors, summed over each step and group, too."""
        return np.concatenate(
            [np.add.reduceat(column, self.steps), np.add.reduceat(column, self.groups), column]
        )

    def alike(self, column: Array) -> tuple[Array, Array]:
        """The least and the most of a column in each scope."""
        least, most = (
            np.concatenate([f.reduceat(column, self.steps), f.reduceat(column, self.groups), column])
            for f in (np.minimum, np.maximum)
        )
        return least, most


def _columns(steps: Sequence[Step], tensors: Tensors, chains: Chains, spans: _Spans) -> dict[str, Array]:
    """Every number of every scope; NaN where there is none."""
    scoped = spans.scoped
    total = {key: scoped(tensors.sum(key)) for key in AT if key not in ("along", "decay")}
    shares = attribute(chains, scoped)
    gg, gd, dd = total["gg"], total["gd"], total["dd"]
    sound = (gg > 0) & np.isfinite(gg) & np.isfinite(dd)
    trusted = scoped(chains.trusted.astype(float)) > 0
    micro = np.repeat([float(step.micro or np.nan) for step in steps], [len(step.tensors) for step in steps])
    columns = {
        "size": total["size"],
        "lr": _rates(tensors, spans),
        "gain": np.where(sound, np.sqrt(dd / gg), np.nan),
        "alignment": np.where(sound, np.where(dd > 0, np.clip(-gd / np.sqrt(gg * dd), -1, 1), 0.0), np.nan),
        "effective": np.where(sound, -gd / gg, np.nan),
        "relative_update": np.sqrt(_over(dd, total["pp"])),
        "update_rms": np.sqrt(_over(dd, total["size"])),
        "trust_ratio": np.where(trusted, np.exp(shares[:, CAUSES.index("trust ratio")]), np.nan),
        "agreement": _over(total["agree"], total["judged"]),
        "grad_norm": np.sqrt(gg),
        "micro_grad_norm": np.sqrt(gg * _over(total["small"], total["big"])),
        "micro_batches": spans.alike(micro)[0],
        "nonfinite": total["nonfinite"],
    }
    columns |= _decay(tensors, chains, scoped, total, shares[:, CAUSES.index("decay")])
    columns |= _quantiles(tensors, spans)
    return columns | {field: shares[:, i] for i, field in enumerate(CAUSE_FIELDS)}


def _rates(tensors: Tensors, spans: _Spans) -> Array:
    """The mean rate, weighted by how many weights have it; exact where all have the same."""
    size = tensors.sum("size")
    low, high = spans.alike(tensors.lr)
    mean = spans.scoped(tensors.lr * size) / spans.scoped(size)
    return np.where(low == high, low, mean)


def _decay(
    tensors: Tensors,
    chains: Chains,
    scoped: Callable[[Array], Array],
    total: dict[str, Array],
    within: Array,
) -> dict[str, Array]:
    """How far decay moved the weights: against their own length, and its share beside the gradient's step.

    Decoupled decay is exact, and is not in the displacement. Decay through the gradient is λp scaled as the
    gradient is in this step, the move it makes once the first moment has seen it for long; the gradient's own
    step is then the displacement without what decay added to its length, e to the ``within``.
    """
    kept, weights, pulled = tensors.keep, tensors.sum("pp"), tensors.sum("decay")
    norm = np.sqrt(scoped((1 - kept) ** 2 * weights + pulled * chains.scale**2))
    step = np.sqrt(total["dd"]) * np.exp(-np.nan_to_num(within, nan=0.0))
    return {"decay": _over(norm, np.sqrt(total["pp"])), "decay_share": _over(norm, norm + step)}


def _quantiles(tensors: Tensors, spans: _Spans) -> dict[str, Array]:
    """Of the rates of each tensor; a scope of several tensors has none."""
    alone = spans.scoped(np.ones(len(tensors))) == 1
    return {
        field: np.where(alone, spans.alike(tensors.quantiles[:, i])[0], np.nan)
        for i, field in enumerate(("rate_q05", "rate_q50", "rate_q95"))
    }


WHOLE_NUMBERS = (NUMBERS.index("nonfinite"), NUMBERS.index("micro_batches"))


def _nulled(table: Array) -> list[list[Any]]:
    """The numbers row by row, None where there is none."""
    lines: list[list[Any]] = table.tolist()
    for row, field in np.argwhere(~np.isfinite(table)).tolist():
        lines[row][field] = None
    for line in lines:
        for at in WHOLE_NUMBERS:
            line[at] = None if line[at] is None else int(line[at])
    return lines


def _over(a: Array, b: Array) -> Array:
    return np.where(b > 0, a / b, np.nan)

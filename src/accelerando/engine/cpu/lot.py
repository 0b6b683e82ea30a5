"""Items on the CPU, stepped by compiled kernels over a table of addresses."""

from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter
from struct import Struct
from typing import Any

import numpy as np
import torch

from accelerando.engine import hashing
from accelerando.engine.anatomy import Rule
from accelerando.engine.cpu import modules, threads
from accelerando.engine.cpu.likeness import Likeness
from accelerando.engine.cpu.source import Kernel, Scheme
from accelerando.engine.lots import Item, Rows, Table
from accelerando.engine.telemetry import FIRST_MOMENT, TOLD
from accelerando.engine.tensors import alike

CHUNK = 32768
"""Elements per chunk: what one core's cache holds of a few arrays; sums are folded per chunk, so it is fixed."""
STORAGE = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16", torch.float16: "f16"}
_REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}
_address = torch.Tensor.data_ptr


def storage(dtype: torch.dtype) -> str | None:
    """The name of a dtype in kernels; complex numbers are pairs of reals; None if there is no kernel for it."""
    return STORAGE.get(_REAL.get(dtype, dtype))


def scheme_of(item: Item) -> Scheme:
    """How an item lies in memory."""
    p, g = storage(item.p.dtype), storage(item.g.dtype)
    if p is None or g is None:
        raise AssertionError(item.place)
    compute, policy = "f64" if p == "f64" else "f32", item.policy
    return Scheme(p, g, compute, policy.p, "bf16" if policy.moments else compute)


class CpuLot:
    """Items of one rule and one storage scheme.

    Args:
        rule: the method.
        scheme: how every item lies in memory.
        items: all on the CPU, dense, each with its gradient and buffers laid out alike.
        decides: whether decisions per tensor may be made here, that is, each tensor is whole.
        tells: whether each step also sums what it did; see `told`.
    """

    def __init__(
        self, rule: Rule, scheme: Scheme, items: Sequence[Item], decides: bool = True, tells: bool = False
    ) -> None:
        self.rule, self.items, self.decides = rule, items, decides
        self.settles = decides and rule.settles_per_tensor
        self.kernel = Kernel(rule, scheme, self.settles, tells)
        self.params = [i.p for i in items]
        self.states = [i.state for i in items]
        self.held = [list(i.kept().values()) for i in items]  # what addresses point to stays alive
        self.readers = [itemgetter(name) for name in self.kernel.kept]
        self.sizes = [i.g.numel() for i in items]
        self.like = Likeness([i.g for i in items])
        self.fixed = self._fixed()
        self.grads = [i.g.data_ptr() for i in items]
        self.draws = bool(self.kernel.drawn)
        self.ages: Sequence[float] = []
        self.seeds, self.ordinals = [i.group["store_seed"] for i in items], [i.position for i in items]
        self._make_tables()
        self.uniform: list[int] = []

    @cached_property
    def module(self) -> Any:
        """The compiled kernels; made when they are first needed."""
        return modules.kernels(self.kernel)

    def telling(self) -> "CpuLot":
        """The same items, with this step's gradients, stepped by kernels that also tell what they did."""
        self._telling.table[1] = self.table[1]
        return self._telling

    @cached_property
    def _telling(self) -> "CpuLot":
        made = CpuLot(self.rule, self.kernel.scheme, self.items, self.decides, tells=True)
        made.uniform = self.uniform
        return made

    def refresh(self, grads: Sequence[torch.Tensor]) -> bool:
        """Take this step's gradients; False if anything but their addresses is not as it was."""
        if self._fixed() != self.fixed or not self.like.holds(grads):
            return False
        if not self.like.dense and not all(map(alike, grads, self.params)):
            return False
        addresses = list(map(_address, grads))
        if addresses != self.grads:
            self.grads = addresses
            self.table[1] = addresses
        return True

    def measure(self) -> tuple[Table, Table]:
        """Each gradient's sum of squares, and how many of its elements are not finite."""
        measure = modules.measure(self.kernel.scheme.g)
        threads.run(measure, (self.table, self.chunks, self.measured), self.ranges)
        totals = np.zeros((len(self.items), 2))
        np.add.at(totals, self.chunks[0], self.measured)
        return totals[:, 0], totals[:, 1]

    def first(self, rows: Rows) -> Table | None:
        """Run the first pass; everything, where decisions are made here."""
        self._fill(rows)
        threads.run(self.module.first, self.arguments, self.ranges)
        if self.rule.sums and not (self.settles and self.whole):
            self.module.settle(*self.arguments, self.sums)
        if self.settles and not self.whole:
            threads.run(self.module.second, self.arguments, self.ranges)
        return self.sums

    def told(self) -> tuple[Sequence[torch.Tensor], Table, bool]:
        """Parameters, what the last step did with them, by `TOLD`, and whether they have a first moment."""
        partial = self.partial[:, self.kernel.told :]
        alone = len(self.chunk_starts) == len(partial)
        sums = partial.copy() if alone else np.add.reduceat(partial, self.chunk_starts, axis=0)
        return self.params, sums, FIRST_MOMENT in self.rule.buffers

    def second(self, decided: Table) -> None:
        """Run the second pass with each item's decisions."""
        self.decided[:] = decided
        threads.run(self.module.second, self.arguments, self.ranges)

    def _fixed(self) -> list[int]:
        """The addresses of parameters and buffers, which are not expected to change."""
        found = list(map(_address, self.params))
        for buffer in self.readers:
            found += map(_address, map(buffer, self.states))
        return found

    def _make_tables(self) -> None:
        rule, kernel, n = self.rule, self.kernel, len(self.items)
        widths = [2 if i.p.is_complex() else 1 for i in self.items]
        elements = [size * width for size, width in zip(self.sizes, widths, strict=True)]
        self.kept = [torch.empty(sum(elements), dtype=self._compute) for _ in kernel.scratch]
        starts = np.cumsum([0, *elements[:-1]], dtype=np.int64) * (8 if kernel.scheme.compute == "f64" else 4)
        lines = [
            self.fixed[:n],
            self.grads,
            *(self.fixed[k * n : (k + 1) * n] for k in range(1, 1 + len(kernel.kept))),
        ]
        lines += [(starts + kept.data_ptr()).tolist() for kept in self.kept]
        keys = [[0] * n] * (2 if self.draws else 0)
        self.table = np.array([*lines, [0] * n, *keys], dtype=np.int64)
        self.chunks = _chunks(elements, [i.offset for i in self.items])
        self.chunk_starts = np.flatnonzero(np.diff(self.chunks[0], prepend=-1))
        self.elements = sum(elements)
        self.ranges = threads.ranges(self.chunks[2], self.elements)
        _mark_walked(self.chunks, self.ranges)
        self.whole = bool(self.chunks[3].all())
        self.rows, self.which = np.zeros((1, 1 + len(kernel.columns))), [0] * n
        self.row, self.packed = Struct(f"{1 + len(kernel.columns)}d"), self.rows.data
        self.partial = np.zeros((self.chunks.shape[1], len(rule.sums) + len(TOLD) * kernel.tells))
        self.measured = np.zeros((self.chunks.shape[1], 2))
        self.sums, self.decided = np.zeros((n, len(rule.sums))), np.zeros((n, len(rule.decided)))
        self.memory = np.zeros((len(rule.memory) if rule.scope == "tensor" else 0, n))
        self.arguments = (self.table, self.chunks, self.rows, self.partial, self.memory, self.decided)

    @property
    def _compute(self) -> torch.dtype:
        return torch.float64 if self.kernel.scheme.compute == "f64" else torch.float32

    def _fill(self, rows: Rows) -> None:
        if len(rows.values) != len(self.rows):
            self.rows = np.zeros((len(rows.values), self.rows.shape[1]))
            self.packed = self.rows.data
            self.arguments = (*self.arguments[:2], self.rows, *self.arguments[3:])
        for k, values in enumerate(rows.values):
            self.row.pack_into(self.packed, k * self.row.size, *values)
        if rows.which is not self.which:
            self.which = rows.which
            self.table[len(self.kernel.addresses)] = rows.which
        if self.draws:
            self.table[-2:] = hashing.keys(self.seeds, self.ages, self.ordinals)


def _chunks(elements: Sequence[int], offsets: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The chunk table, as `accelerando.engine.cpu.source` has it. Empty tensors have a chunk, too."""
    rows = [
        (t, at, min(CHUNK, n - at), 0, offset + at)
        for t, (n, offset) in enumerate(zip(elements, offsets, strict=True))
        for at in range(0, max(n, 1), CHUNK)
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    return np.ascontiguousarray(np.vstack([table, np.searchsorted(table[0], table[0])]))


def _mark_walked(chunks: np.ndarray[Any, np.dtype[np.int64]], ranges: Sequence[tuple[int, int]]) -> None:
    """Mark the tensors that lie within one of the ranges, and their last chunks."""
    for begin, end in ranges:
        last = np.searchsorted(chunks[0], chunks[0, begin:end], side="right") - 1
        walked = (chunks[5, begin:end] >= begin) & (last < end)
        chunks[3, begin:end] = walked * (1 + (last == np.arange(begin, end)))

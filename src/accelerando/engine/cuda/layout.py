"""What is where in the tables that kernels read.

The table of a plan is one vector of int64::

    header: tensors, groups, instances, chunks, addresses of partials, totals, grouped, decided, fresh
    one record a tensor: size, group, address of its step count, first chunk, chunks, address of p, of each buffer,
        of the remainder (0: none), store_seed, position among the optimizer's parameters, index of its first element
    one record a group: its first tensor, the one after its last
    one record an instance of `decide` (a tensor, or a group): the address of each number it remembers

The addresses that belong to the caller are a vector of their own, so that they alone travel when gradients move: those
of ``found_inf`` and ``grad_scale``, then of each tensor's gradient. The numbers of a group are float64: the sign of its
gradients, its norm cap (-1: none), then every hyperparameter that its rule sees. A chunk is a tensor and a
position in it.
"""

from dataclasses import dataclass

import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.lots import Item
from accelerando.engine.stores import REMAINDER

HEADER = 9
PARTIALS, TOTALS, GROUPED, DECIDED, FRESH = range(4, 9)
"""Entries of the header with addresses of float64 numbers that kernels write."""
THREADS = 128
"""Threads of a program: four warps."""


@dataclass(frozen=True)
class Layout:
    """The widths of a rule's records."""

    rule: Rule

    @property
    def record(self) -> int:
        """Entries of a tensor's record."""
        return 10 + len(self.rule.buffers)

    @property
    def numbers(self) -> int:
        """Numbers of a group."""
        return 2 + len(self.rule.seen)

    def entry(self, name: str) -> int:
        """The entry of a record with an address, by the array's name, or with ``seed``, ``position`` or ``offset``."""
        return 5 + ("p", *self.rule.buffers, REMAINDER, "seed", "position", "offset").index(name)


@dataclass(frozen=True)
class Geometry:
    """How elements are dealt to programs: a chunk each, in blocks."""

    block: int
    tail: int
    """The smaller blocks under a mask, for what is left of a chunk and for unaligned tensors."""
    chunk: int
    threads: int = THREADS
    """Sums kept while a chunk is read: one for each thread."""
    lanes: int = 128
    """Tensors, groups or partial sums met at once by the last program."""


@dataclass(frozen=True)
class Stores:
    """What is not stored by rounding to nearest even."""

    drawn: tuple[str, ...] = ()
    """Of ``p`` and the buffers, those stored by chance."""
    remainder: bool = False
    """Whether ``p`` is the upper half of a float32 number, whose lower half is kept beside it."""

    @property
    def crowds(self) -> bool:
        """Whether threads keep more at hand than rounding to nearest or one draw asks for."""
        return self.remainder or bool(set(self.drawn) - {"p"})

    def arrays(self, rule: Rule) -> tuple[str, ...]:
        """Everything that there is one of per element."""
        return ("p", "g", *rule.buffers, *((REMAINDER,) if self.remainder else ()))


@dataclass(frozen=True)
class Scheme:
    """The dtypes of one parameter and what goes with it, and how they are stored."""

    parameter: torch.dtype
    gradient: torch.dtype
    buffers: tuple[torch.dtype, ...]
    stores: Stores = Stores()

    @property
    def compute(self) -> torch.dtype:
        """The dtype that rules compute in."""
        return torch.promote_types(self.parameter, torch.float32)

    @property
    def exact(self) -> bool:
        """Whether buffers are stored as they are computed."""
        return all(dtype == self.compute for dtype in self.buffers)


def scheme_of(item: Item) -> Scheme:
    """How an item lies in memory."""
    policy, rule = item.policy, item.rule
    drawn = [
        *(["p"] if policy.p == "stochastic" else []),
        *(b for b in rule.buffers if policy.narrows(rule, b)),
    ]
    buffers = tuple(b.dtype for b in item.buffers().values())
    return Scheme(item.p.dtype, item.g.dtype, buffers, Stores(tuple(drawn), policy.p == "compensated"))


def crowded(rule: Rule) -> bool:
    """Whether a rule keeps so much at hand that threads take fewer elements, and more registers each."""
    return len(rule.buffers) > 2 and bool(rule.sums)


def geometry(rule: Rule, scheme: Scheme, chunk: int = 8192) -> Geometry:
    """Blocks in which every thread reads 16 bytes at once: of the narrowest array, or of the dtype computed in."""
    stored = (scheme.parameter, scheme.gradient, *scheme.buffers)
    width = scheme.compute.itemsize if crowded(rule) else min(d.itemsize for d in stored)
    block = THREADS * 16 // width
    return Geometry(block, max(THREADS, block // 2), chunk)

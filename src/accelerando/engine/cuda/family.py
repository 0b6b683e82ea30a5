"""Items of one rule on one device: their tables, and the launches that step them."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.cuda import build, layout
from accelerando.engine.cuda.layout import Geometry, Layout, Scheme
from accelerando.engine.cuda.mirror import Mirror
from accelerando.engine.fields import number
from accelerando.engine.lots import Item
from accelerando.engine.stores import REMAINDER

Deal = Callable[[Rule, Scheme], Geometry]


class Family:
    """Everything that one rule's kernels read and write besides parameters, gradients and state.

    Args:
        rule: the method.
        items: its items; those of a group side by side.
        schemes: the dtypes of each item.
        deal: the geometry for a rule and a scheme.
        control: where `decide` is to put its results, instead of memory of the family's own.
    """

    def __init__(
        self, rule: Rule, items: Sequence[Item], schemes: Sequence[Scheme], deal: Deal,
        control: torch.Tensor | None = None,
    ) -> None:  # fmt: skip
        self.rule, self.items, self.device = rule, items, items[0].p.device
        self.groups = list({id(i.group): i.group for i in items}.values())
        self.which = [next(k for k, g in enumerate(self.groups) if g is i.group) for i in items]
        geometries = [deal(rule, s) for s in schemes]
        counts = [max(1, -(-i.p.numel() // g.chunk)) for i, g in zip(items, geometries, strict=True)]
        self.starts = [0, *accumulate(counts)]
        self.table = self._table(counts, control)
        self.counters = torch.zeros(1 + len(items), dtype=torch.int32, device=self.device)
        self.parts = [
            (build.kernels(rule, scheme, deal(rule, scheme)), *self._chunks(scheme, schemes, counts))
            for scheme in dict.fromkeys(schemes)
        ]

    @property
    def twice(self) -> bool:
        """Whether there is a second pass."""
        return any(len(ways) > 1 for ways, _, _ in self.parts)

    @property
    def remembering(self) -> bool:
        """Whether each tensor remembers for itself."""
        return self.rule.scope == "tensor"

    def _table(self, counts: list[int], control: torch.Tensor | None) -> torch.Tensor:
        rule, n, groups = self.rule, len(self.items), len(self.groups)
        instances = (n if self.remembering else groups) if rule.decide else 0
        sums, decided, memory = len(rule.sums), len(rule.decided), len(rule.memory)
        sizes = [self.starts[-1] * sums, n * sums, groups * sums, instances * decided, instances * memory]
        self.space = torch.zeros(sum(sizes) or 1, dtype=torch.float64, device=self.device)
        places = [self.space.data_ptr() + 8 * at for at in accumulate([0, *sizes[:-1]])]
        if control is not None:
            places[layout.DECIDED - layout.PARTIALS] = control.data_ptr()
        entries = [n, groups, instances, self.starts[-1], *places]
        for k, item in enumerate(self.items):
            own = (item.p.numel(), self.which[k], item.state["step"].data_ptr(), self.starts[k], counts[k])
            entries += [*own, item.p.data_ptr(), *(item.state[b].data_ptr() for b in rule.buffers)]
            remainder = item.state.get(REMAINDER)
            entries += [0 if remainder is None else remainder.data_ptr(), item.group.get("store_seed", 0)]
            entries += [item.position, item.offset]
        for k in range(groups):
            entries += [self.which.index(k), n - self.which[::-1].index(k)]
        owners = [i.state for i in self.items] if self.remembering else self.groups
        entries += [owner[name].data_ptr() for owner in owners[:instances] for name in rule.memory]
        return torch.tensor(entries, dtype=torch.int64, device=self.device)

    def _chunks(
        self, scheme: Scheme, schemes: Sequence[Scheme], counts: Sequence[int]
    ) -> tuple[torch.Tensor, int]:
        own = [(k, at) for k, s in enumerate(schemes) if s == scheme for at in range(counts[k])]
        return torch.tensor(own, dtype=torch.int32, device=self.device), len(own)

    def launch(
        self, second: bool, gradients: torch.Tensor, numbers: torch.Tensor, control: torch.Tensor
    ) -> None:
        """Run the first pass over all parts, or the second."""
        for ways, chunks, programs in self.parts:
            if int(second) < len(ways):
                kernel = ways[int(second)][1]
                kernel.launch(programs, (self.table, gradients, chunks, numbers, control, self.counters))

    def addresses(self, grads: Sequence[int]) -> list[int]:
        """What belongs in the vector of gradients: room for the scaler's two, and an even number in all."""
        return [0, 0, *grads, *([0] * (len(grads) % 2))]


_readers: dict[int, tuple[Rule, Callable[[dict[str, Any]], tuple[Any, ...]]]] = {}


def reader(rule: Rule) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """A function that reads a group's hyperparameters in the order of ``rule.seen``."""
    if id(rule) not in _readers:
        text = f"lambda h: ({''.join(f'{t}, ' for t in rule.seen.values())})"
        _readers[id(rule)] = (rule, eval(text))  # our own text, made of field names
    return _readers[id(rule)][1]


class Numbers:
    """The numbers of a family's groups, on its device."""

    def __init__(self, family: Family) -> None:
        self.groups, self.read = family.groups, reader(family.rule)
        self.width = Layout(family.rule).numbers
        self.mirror = Mirror([math.nan] * self.width * len(self.groups), torch.float64, family.device)

    @property
    def vector(self) -> torch.Tensor:
        """The vector that kernels read."""
        return self.mirror.vector

    def update(self) -> bool:
        """Send numbers that have changed; copy those that are tensors on the device. Whether any were sent."""
        values: list[float] = []
        copied: list[tuple[int, torch.Tensor]] = []
        for group in self.groups:
            cap = group["max_grad_norm"]
            values += (-1.0 if group["maximize"] else 1.0, -1.0 if cap is None else float(cap))
            for value in self.read(group):
                if isinstance(value, torch.Tensor) and value.device.type != "cpu":
                    copied.append((len(values), value))
                    values.append(0.0)
                else:
                    values.append(number(value))
        sent = self.mirror.update(values)
        for at, value in copied:
            self.mirror.vector[at].copy_(value.detach().reshape(()))
        return sent

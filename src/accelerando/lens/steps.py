"""One step of an optimizer, read as a whole: its rate, and ⟨g,g⟩, ⟨g,d⟩, ⟨d,d⟩ of gradient and displacement.

Three ways, the cheapest that a step allows: an optimizer of ours sums them in its own pass; a small model's numbers
fit into one vector each; and anything else is gone through tensor by tensor.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul
from typing import Any, Protocol

import torch

from accelerando.engine.optimizer import Optimizer
from accelerando.engine.telemetry import TOLD, Telemetry
from accelerando.lens.decay import shrinkage
from accelerando.lens.flat import BLOCK, Segment, computed_in, flat
from accelerando.lens.snapshot import Call, Memories, Snapshot, moved, noting
from accelerando.lens.sums import Sums, Vector, summed

Read = tuple[float, Sums, list[torch.Tensor]]
"""The nominal rate, the three sums in one or more rows, and the rows' parameters where ranks may share them."""

Kind = tuple[torch.Size, torch.dtype, torch.device]

_ORDINARY = (torch.nn.Parameter, torch.Tensor)
_COLUMNS = tuple(TOLD.index(name) for name in ("gg", "gd", "dd"))


class Step(Protocol):
    """A step that has begun and is to be read when it is over."""

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note the gradients now or whenever the closure makes them; what the step is to be called with."""

    def altered(self) -> bool:
        """Whether the step wrote into the gradients it was given, as some do that clip or decay in place."""

    def read(self) -> Read | None:
        """What the step did, over all parameters that have a gradient; None if none has."""


class Steps:
    """Reads steps of one optimizer, one after another; what one needs room for is there for the next."""

    def __init__(self) -> None:
        self._memories = Memories()
        self._kinds: list[Kind] = []
        self._whole: Whole | None = None

    def begin(self, optimizer: torch.optim.Optimizer, keep_gradients: bool) -> Step:
        """The coming step.

        Args:
            optimizer: about to step.
            keep_gradients: copy the gradients the step is given, because it may overwrite them.
        """
        told = self.told(optimizer)
        if told is not None:
            return told
        groups = [group for group in optimizer.param_groups if group["params"]]
        params = [p for group in groups for p in group["params"]]
        keeps = {1 - shrinkage(optimizer, group) for group in groups}
        if len(keeps) == 1 and all(p.requires_grad and type(p) in _ORDINARY for p in params):
            whole = self._laid_out(params)
            if whole is not None:
                keep_gradients = keep_gradients and getattr(optimizer, "grad_scale", None) is None
                whole.begin(params, _nominal(groups), keeps.pop(), keep_gradients)
                return whole
        return Parts(Snapshot(optimizer, self._memories, keep_gradients))

    def told(self, optimizer: torch.optim.Optimizer) -> "Told | None":
        """The coming step, if it is one of ours that sums what it does; nothing else needs to be done before it."""
        if not isinstance(optimizer, Optimizer) or not type(optimizer).__module__.startswith("accelerando."):
            return None  # a subclass of somebody may do something to the gradients first
        groups = optimizer.param_groups
        if not all(type(p) in _ORDINARY for group in groups for p in group["params"]):
            return None
        telemetry = optimizer._measure([1 - shrinkage(optimizer, group) for group in groups])
        return None if telemetry is None else Told(_nominal(groups), telemetry)

    def _laid_out(self, params: list[torch.Tensor]) -> "Whole | None":
        """The vectors for these parameters, those of before as long as they fit; None where there can be none."""
        kinds = [(p.shape, p.dtype, p.device) for p in params]
        if kinds != self._kinds:
            self._kinds, self._whole = kinds, Whole(kinds) if _alike(kinds) else None
        return self._whole


class Told:
    """A step of an optimizer that sums what it does while it does it; the gradients are only read."""

    def __init__(self, rate: float, telemetry: Telemetry) -> None:
        self._rate, self._telemetry = rate, telemetry

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Nothing is to be noted."""

    def altered(self) -> bool:
        """Never."""
        return False

    def read(self) -> Read | None:
        """What the optimizer has summed."""
        lots = self._telemetry.lots
        if not lots:
            return None
        sums = Sums(len(lots), len(_COLUMNS))
        for row, (_, table, _) in enumerate(lots):
            totals = table.sum(0).tolist()
            for column, place in enumerate(_COLUMNS):
                sums.put(row, column, totals[place])
        return self._rate, sums, []


class Whole:
    """A step of a small model as three vectors: its gradients, its weights before and after.

    Such a step costs little more than the calls it makes, so a reading makes as few as it can.

    Args:
        kinds: of the parameters, all `_alike`.
    """

    def __init__(self, kinds: list[Kind]) -> None:
        sizes = [shape.numel() for shape, _, _ in kinds]
        ends = list(accumulate(sizes))
        self._parts = [Segment(0, end - size, end, 0) for size, end in zip(sizes, ends, strict=True)]
        self._all = [Segment(0, 0, ends[-1], 0)]
        _, dtype, device = kinds[0]
        vectors = [torch.empty(ends[-1], dtype=computed_in(dtype), device=device) for _ in range(3)]
        self._before, self._after, self._gradient = vectors
        self._befores, self._afters, self._gradients = (
            [part.view(kind[0]) for part, kind in zip(torch.split(vector, sizes), kinds, strict=True)]
            for vector in vectors
        )

    def begin(self, params: list[torch.Tensor], rate: float, keep: float, keep_gradients: bool) -> None:
        """Copy the weights before a step, of which decoupled decay will leave ``keep``."""
        self._params, self._rate, self._keep, self._keep_gradients = params, rate, keep, keep_gradients
        torch._foreach_copy_(self._befores, params)

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note the gradients now or whenever the closure makes them."""
        return noting(self._note, args, kwargs)

    def altered(self) -> bool:
        """Whether the step wrote into the gradients."""
        now = [-1 if p.grad is None else int(p.grad._version) for p in self._params]
        return any(-1 < then != n > -1 for then, n in zip(self._versions, now, strict=True))

    def read(self) -> Read | None:
        """Three products of vectors; of their parts where some parameters have no gradient."""
        grads = [p.grad for p in self._params]
        given = [i for i, grad in enumerate(grads) if _dense(grad)]
        if not given:
            return None
        self._copy([i for i in given if i not in self._kept] if self._kept else given, grads)
        torch._foreach_copy_(self._afters, self._params)
        d = torch.sub(self._after, self._before, alpha=self._keep, out=self._after)
        sums = Sums(1, 3)
        segments = self._all if len(given) == len(grads) else [self._parts[i] for i in given]
        _add(sums, segments, summed(self._gradient), summed(d))
        return self._rate, sums, []

    def _note(self) -> None:
        grads = [p.grad for p in self._params]
        self._versions = [-1 if grad is None else int(grad._version) for grad in grads]
        self._kept = [i for i, grad in enumerate(grads) if _dense(grad)] if self._keep_gradients else []
        self._copy(self._kept, grads)

    def _copy(self, which: list[int], grads: Sequence[Any]) -> None:
        if which:
            torch._foreach_copy_([self._gradients[i] for i in which], [grads[i] for i in which])


class Parts:
    """A step gone through tensor by tensor, whatever they are and wherever they lie."""

    def __init__(self, before: Snapshot) -> None:
        self._before = before

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note the gradients now or whenever the closure makes them."""
        return self._before.watch(args, kwargs)

    def altered(self) -> bool:
        """Whether the step wrote into the gradients."""
        return self._before.altered()

    def read(self) -> Read | None:
        """A row of sums for every parameter that has a gradient."""
        try:
            return self._read()
        finally:
            self._before.release()

    def _read(self) -> Read | None:
        before = self._before
        held = [(h, g) for h in before.held if (g := h.given()) is not None]
        if not held:
            return None
        sums = Sums(len(held), 3)
        now = [flat(h.p) for h, _ in held]
        kinds: dict[float, list[int]] = {}
        for row, (h, _) in enumerate(held):
            kinds.setdefault(h.keep, []).append(row)
        for keep, rows in kinds.items():
            for block in before.blocks([(row, held[row][0]) for row in rows]):
                g = block.gather(lambda row: held[row][1])
                d = moved(block, block.gather(now.__getitem__), keep)
                _add(sums, block.segments, summed(g), summed(d))
        held_of = [[h.p for h in before.held if h.group == i] for i in range(len(before.groups))]
        groups = [{**g, "params": ps} for g, ps in zip(before.groups, held_of, strict=True) if ps]
        return _nominal(groups), sums, [h.p for h, _ in held]


def _nominal(groups: Sequence[Mapping[str, Any]]) -> float:
    """The rate, exactly where all have the same; else its mean, weighted by how many weights have it."""
    rates = [float(group.get("lr") or 0.0) for group in groups]
    if len(set(rates)) <= 1:
        return rates[0] if rates else 0.0
    sizes: list[int] = [sum(p.numel() for p in group["params"]) for group in groups]
    return math.fsum(map(mul, rates, sizes)) / max(1, sum(sizes))


def _alike(kinds: list[Kind]) -> bool:
    """Whether these fit into one vector: real, of one precision, on one device, and few."""
    if len({kind[1:] for kind in kinds}) != 1 or kinds[0][1].is_complex:
        return False
    return sum(shape.numel() for shape, _, _ in kinds) <= BLOCK


def _dense(grad: torch.Tensor | None) -> bool:
    return grad is not None and grad.layout == torch.strided


def _add(sums: Sums, parts: Sequence[Segment], g: Vector, d: Vector) -> None:
    """Add ⟨g,g⟩, ⟨g,d⟩ and ⟨d,d⟩ of each part."""
    for column, (a, b) in enumerate(((g, g), (g, d), (d, d))):
        sums.add(parts, column, a, b)

"""From a step that has just been made to its sums: every parameter's numbers, in one pass over its memory."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from accelerando.lens import fused
from accelerando.lens.decay import decoupled
from accelerando.lens.flat import Block, flat
from accelerando.lens.formulas import Moments
from accelerando.lens.layout import precision_of
from accelerando.lens.micro import Ended
from accelerando.lens.recipes import Stepped, Way, Ways
from accelerando.lens.sampled import AT, COLUMNS, QUANTILES, STAGES, WIDTH, Array, Frame, Samples, plain
from accelerando.lens.snapshot import Held, Snapshot, moved
from accelerando.lens.sums import Sums, summed

Name = Callable[[torch.Tensor, int], str]
"""Of a parameter of a group."""

SAMPLE = 1024
"""Quantiles are of at most about this many evenly spaced weights."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One parameter of a sampled step.

    Attributes:
        held: it, as it was before.
        g: the gradient as given, flat.
        used: the gradient the step made of it, if that is a shorter one.
        way: its recipe.
        buffers: what the recipe reads, flat.
        decay: λ of decay through the gradient.
        whole: whether this rank holds all of it, and in a quantile's order.
    """

    held: Held
    g: torch.Tensor
    used: torch.Tensor | None
    way: Way
    buffers: tuple[torch.Tensor, ...]
    decay: float
    whole: bool

    @property
    def kind(self) -> tuple[Any, ...]:
        """Parameters of the same kind are gone through together."""
        return (self.way.formula, self.held.keep, self.decay, self.used is None, self.whole)

    @property
    def causes(self) -> tuple[str, ...]:
        """Those of its stages."""
        return self.way.causes if self.used is None else ("clipping", *self.way.causes)


class Compared(Snapshot):
    """A sampled step of any optimizer: what it did is read off the weights before and after."""

    seen: Sequence[Seen] = ()
    _thinned: Sequence[list[torch.Tensor]] = ()
    _at_once = False

    def take(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Sum what the step did, the ``step``-th; its displacement takes the place of the weights from before."""
        self.kind = type(optimizer).__name__
        self.seen = seen = seen_in(optimizer, self.groups, self.held, self.altered())
        self._sums = sums = Sums(len(seen), WIDTH)
        thinned: list[list[torch.Tensor]] = [[] for _ in seen]
        self._thinned = thinned
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for row, one in enumerate(seen):
            sums.put(row, AT["size"], float(one.g.numel()))
            kinds.setdefault(one.kind, []).append(row)
        now = [flat(one.held.p) for one in seen]
        self._at_once = fused.worth(sum(one.g.numel() for one in seen))
        for rows in kinds.values():
            one = seen[rows[0]]
            for block in self.blocks([(row, seen[row].held) for row in rows]):
                at_once = self._at_once and one.used is None and fused.fits(one.way.formula, block)
                (_at_once if at_once else _block)(block, seen, now, sums, thinned)
        _count_nonfinite(seen, sums)

    @property
    def here(self) -> bool:
        """Whether no device is to be waited for."""
        return self._sums.here

    def pushed(self) -> bool:
        """Whether any gradient was other than zero; this waits for a device."""
        return any(row[AT["gg"]] for row in self._sums.table(()))

    def rated(self) -> bool:
        """Whether any nominal rate was other than zero."""
        return any(float(group.get("lr") or 0.0) for group in self.groups)

    @property
    def owners(self) -> list[torch.Tensor]:
        """The parameters, in order."""
        return [one.held.p for one in self.seen]

    def samples(self, index: int, step: int, order: int, micro: Ended | None, name: Name) -> Samples:
        """What was summed; this waits for a device, and for other ranks."""
        seen, table = self.seen, np.array(self._sums.table(self.owners))
        sums = np.hstack([table[:, : len(COLUMNS)], np.zeros((len(seen), 2))])
        if micro is not None:
            small = micro.table()
            sums[:, -2:] = [small.get(id(p), (0.0, 0.0)) for p in self.owners]
        stages = np.full((len(seen), STAGES + 1), np.nan)
        for row, one in enumerate(seen):
            own = len(one.causes)
            stages[row, :own] = table[row, len(COLUMNS) : len(COLUMNS) + own]
        lr = [float(self.groups[one.held.group].get("lr") or 0.0) for one in seen]
        found = [quantiles(thinned, rate) for thinned, rate in zip(self._thinned, lr, strict=True)]
        frame = self._frame(index, sums, name)
        scalars = [[one.way.scalars.get(cause, 1.0) for cause in frame.factors] for one in seen]
        return Samples(
            frame,
            np.array([order]),
            np.array([step]),
            [tuple(plain(group) for group in self.groups)],
            np.array([np.nan if micro is None else float(micro.count)]),
            np.array([lr]),
            np.array([[one.held.keep for one in seen]]),
            stages[None],
            np.array(scalars, dtype=float).reshape(1, len(seen), len(frame.factors)),
            sums[None],
            np.array([[(np.nan,) * len(QUANTILES) if q is None else q for q in found]]),
        )

    def _frame(self, index: int, sums: Array, name: Name) -> Frame:
        seen = self.seen
        return Frame(
            index,
            self.kind,
            tuple(name(one.held.p, one.held.group) for one in seen),
            tuple(one.held.group for one in seen),
            tuple(int(n) for n in sums[:, AT["size"]]),
            tuple(name(h.p, h.group) for h in self.held if h.version < 0),
            precision_of(self.owners),
            tuple(one.causes for one in seen),
            tuple(dict.fromkeys(cause for one in seen for cause in one.way.scalars)),
            tuple("trust ratio" in one.way.scalars for one in seen),
            tuple(one.way.trusts for one in seen),
            tuple(one.way.whole for one in seen),
        )

    def judge(self) -> None:
        """Hold the gradients there are now against the sampled step's displacements, which are used up."""
        flats, seen = {}, self.seen
        for row, one in enumerate(seen):
            g = one.held.p.grad
            if g is not None and g.layout == torch.strided and g.shape == one.held.p.shape:
                flats[row] = flat(g)
        for block in self.blocks([(row, seen[row].held) for row in flats]):
            g, d = block.gather(flats.__getitem__), block.memory
            if self._at_once and fused.fits_any(block):
                for part, (net, gross) in zip(block.segments, fused.judge(block, g), strict=True):
                    self._sums.put(part.row, AT["agree"], self._sums.get(part.row, AT["agree"]) - net)
                    self._sums.put(part.row, AT["judged"], self._sums.get(part.row, AT["judged"]) + gross)
                continue
            self._sums.add(block.segments, AT["agree"], summed(g), summed(d), -1.0)
            self._sums.add(block.segments, AT["judged"], summed(g.abs()), summed(d.abs_()))


def seen_in(
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Mapping[str, Any]],
    held_ones: Sequence[Held],
    altered: bool,
) -> list[Seen]:
    """The parameters that a step has moved, each with its recipe."""
    name, seen, ways = type(optimizer).__name__, [], Ways()
    direct = [decoupled(optimizer, group) for group in groups]
    for held in held_ones:
        g = held.given()
        if g is None:
            continue
        group, after = groups[held.group], optimizer.param_groups[held.group]
        state = optimizer.state.get(held.p, {})
        s = Stepped(name, group, after, state, g.numel(), direct[held.group])
        used = _used(held, g) if altered else None
        way, buffers = ways.of(s, held.group)
        seen.append(Seen(held, g, used, way, buffers, s.decay, not hasattr(held.p, "to_local")))
    return seen


def _block(
    block: Block,
    seen: Sequence[Seen],
    now: Sequence[torch.Tensor],
    sums: Sums,
    thinned: Sequence[list[torch.Tensor]],
) -> None:
    """The sums of one block, all of one kind."""
    parts, one = block.segments, seen[block.segments[0].row]
    g, p = block.gather(lambda row: seen[row].g), block.memory
    buffers = [block.gather(partial(_buffer, seen, i)) for i in range(len(one.buffers))]
    used = g if one.used is None else block.gather(lambda row: seen[row].used)  # type: ignore[arg-type, return-value]
    stages, divisor = one.way.formula(used, p, *buffers)
    if one.used is not None:
        stages = [(used, 1.0), *stages]
    given, weights = summed(g), summed(p)
    sums.add(parts, AT["gg"], given, given)
    sums.add(parts, AT["pp"], weights, weights)
    last, scale = given, 1.0
    for i, (stage, scale) in enumerate(stages):
        last = summed(stage)
        sums.add(parts, len(COLUMNS) + i, last, last, scale * scale)
    if one.decay:
        x, c = divisor if divisor is not None and not one.way.trusts else (None, 1.0)
        pulled = summed(p if x is None else p / x)
        sums.add(parts, AT["decay"], pulled, pulled, (one.decay * c) ** 2)
    d = summed(moved(block, block.gather(now.__getitem__), one.held.keep))
    sums.add(parts, AT["gd"], given, d)
    sums.add(parts, AT["dd"], d, d)
    sums.add(parts, AT["along"], last, d, scale)
    if divisor is not None and one.whole:
        for row, some in _few(block, seen, divisor[0]):
            thinned[row].append(divisor[1] / some)


def _few(block: Block, seen: Sequence[Seen], x: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Each parameter's row, and of its part of ``x`` at most about `SAMPLE` evenly spaced numbers."""
    for part in block.segments:
        stride = -(-seen[part.row].g.numel() // SAMPLE)
        yield part.row, x[part.low : part.high][-part.begin % stride :: stride]


def _at_once(
    block: Block,
    seen: Sequence[Seen],
    now: Sequence[torch.Tensor],
    sums: Sums,
    thinned: Sequence[list[torch.Tensor]],
) -> None:
    """The same as `_block` in one pass, for an Adam-like."""
    one = seen[block.segments[0].row]
    formula = one.way.formula
    if not isinstance(formula, Moments) or formula.second is None:
        raise AssertionError
    g, after = block.gather(lambda row: seen[row].g), block.gather(now.__getitem__)
    m, v = (block.gather(partial(_buffer, seen, i)) for i in (0, 1))
    scale = formula.first / math.sqrt(formula.second)
    norms = {
        "decay": ("decayed", 1.0),
        "agreement": ("mm", formula.first**2),
        "second moment": ("uu", scale**2),
    }
    stages = {len(COLUMNS) + k: norms[cause] for k, cause in enumerate(one.way.causes)}
    columns = (
        {AT[name]: (name, 1.0) for name in ("gg", "pp", "gd", "dd")} | {AT["along"]: ("ud", scale)} | stages
    )
    if one.decay:
        pulled = ("pp", 1.0) if one.way.trusts else ("pulled", 1 / formula.second)
        columns[AT["decay"]] = (pulled[0], pulled[1] * one.decay**2)
    found = fused.compare(block, formula, one.held.keep, after, g, m, v)
    for part, own in zip(block.segments, found, strict=True):
        for column, (name, factor) in columns.items():
            sums.put(part.row, column, sums.get(part.row, column) + factor * own[name])
    if one.whole:
        for row, some in _few(block, seen, v):
            thinned[row].append(1 / (some.mul(formula.second).sqrt_() + formula.eps))


def _buffer(seen: Sequence[Seen], index: int, row: int) -> torch.Tensor:
    return seen[row].buffers[index]


def _used(held: Held, g: torch.Tensor) -> torch.Tensor | None:
    """The gradient the step left behind, where that is the given one made shorter."""
    if held.p.grad is None or held.gradient is None or not held.altered():
        return None
    left = flat(held.p.grad)
    x, y = g.double(), left.double()
    gg, ll, gl = (float(torch.dot(a, b)) for a, b in ((x, x), (y, y), (x, y)))
    shorter = 0 < ll < gg and gl > 0 and gl * gl >= (1 - 1e-9) * ll * gg
    return left if shorter else None


def _count_nonfinite(seen: Sequence[Seen], sums: Sums) -> None:
    """How many elements of each gradient are not finite; on a CPU counted only where their sum is not."""
    for row, one in enumerate(seen):
        if one.g.device.type == "cpu":
            if not np.isfinite(sums.get(row, AT["gg"])):
                sums.put(row, AT["nonfinite"], float((~one.g.isfinite()).sum()))
        else:
            sums.count(row, AT["nonfinite"], ~one.g.isfinite())


def quantiles(thinned: Sequence[torch.Tensor], lr: float) -> tuple[float, ...] | None:
    """Of lr/(√v̂ + ε), over the weights kept of a tensor; None where there are none."""
    if not thinned:
        return None
    values = np.sort((thinned[0] if len(thinned) == 1 else torch.cat(list(thinned))).cpu().numpy())
    last, found = len(values) - 1, []
    for q in QUANTILES:
        low = int(q * last)
        rest = float(values[min(low + 1, last)]) - float(values[low])
        found.append(lr * (float(values[low]) + (q * last - low) * rest))
    return tuple(found)

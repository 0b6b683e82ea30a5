"""From sums that optimizers told of their steps to the lens's columns, many steps at once."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from accelerando.engine.telemetry import TOLD
from accelerando.lens.decay import decoupled
from accelerando.lens.formulas import Divided, Formula, Moments, Number
from accelerando.lens.patches import Patches, judged, quantiles_of
from accelerando.lens.recipes import Mixed, Stepped, Way, way_of
from accelerando.lens.sampled import AT, QUANTILES, STAGES, Array, Frame, Samples, plain
from accelerando.lens.yielded import Options, Yielded

Ways = Sequence[tuple[Way, list[int]]]
"""Each recipe, with a number for each step, and the rows of those that it fits."""


def samples_of(run: Sequence[Yielded]) -> list[Samples]:
    """The samples of some steps of one optimizer, in order; those next to each other together that can be."""
    found = []
    for _, alike in groupby(run, key=lambda y: (id(y.layout), y.kind, len(y.options))):
        found += _halved(list(alike))
    return found


def _halved(run: list[Yielded]) -> list[Samples]:
    try:
        return [_Run(run).samples()]
    except Mixed:
        half = len(run) // 2
        return _halved(run[:half]) + _halved(run[half:])


class _Run:
    """Steps of the same parameters."""

    def __init__(self, run: list[Yielded]) -> None:
        self.run, self.layout, self.kept = run, run[0].layout, run[0].kept
        self.kind = run[0].kind
        count = range(len(run[0].options))
        self.options = [stacked([y.options[k] for y in run]) for k in count]
        self.after = [stacked([y.after[k] for y in run]) for k in count]
        self.told = np.stack([y.sums for y in run])
        self.ways = self._ways()

    def samples(self) -> Samples:
        """The lens's columns."""
        run, layout = self.run, self.layout
        lr = np.stack([np.broadcast_to(_rate(o), len(run)) for o in self.options], axis=1)[:, layout.group]
        keep = np.array([y.keeps for y in run])[:, layout.group]
        sums = self._sums()
        stages, last = self._stages(sums)
        with np.errstate(all="ignore"):
            dd, gd = sums[..., AT["dd"]], sums[..., AT["gd"]]
            along = np.where(np.isnan(last), gd, np.sqrt(np.maximum(0.0, last * dd)))
            quantiles = self._look(sums, lr, np.where(np.isnan(last), sums[..., AT["gg"]], last))
        sums[..., AT["along"]] = along
        micro = np.full(len(run), np.nan)
        for k, y in enumerate(run):
            if y.micro is not None:
                sums[k, :, -2:], micro[k] = y.micro[:, :2], y.micro[0, 2]
        frame = self._frame()
        return Samples(
            frame,
            np.array([y.order for y in run]),
            np.array([y.step for y in run]),
            _plain(run),
            micro,
            lr,
            keep,
            stages,
            self._scalars(frame.factors),
            sums,
            quantiles,
        )

    def _ways(self) -> Ways:
        """One for all of a group that are of an age."""
        layout, run = self.layout, self.run
        ages = np.array([y.ages for y in run], dtype=float)
        if layout.plan is not None:
            ages = ages[:, layout.places]
        even = bool((ages == ages[:, :1]).all())
        rows: dict[tuple[Any, ...], list[int]] = {}
        for row, key in enumerate(zip(layout.groups, layout.kinds, strict=True)):
            own: tuple[Any, ...] = () if even else tuple(ages[:, row].tolist())
            own += (row,) if run[0].ratios is not None else ()
            rows.setdefault((*key, *own), []).append(row)
        return [(way_of(self._stepped(ages[:, mine[0]], mine[0])), mine) for mine in rows.values()]

    def _stepped(self, ages: Array, row: int) -> Stepped:
        layout, group = self.layout, self.layout.groups[row]
        state = dict(layout.states[row])
        if "step" in state:
            state["step"] = ages
        if "trust_ratio" in state:
            state["trust_ratio"] = np.array([(y.ratios or [0.0])[row] for y in self.run])
        direct = decoupled(self.kept.optimizer, self.options[group])
        return Stepped(self.kind, self.options[group], self.after[group], state, layout.sizes[row], direct)

    def _frame(self) -> Frame:
        layout, count = self.layout, len(self.layout.params)
        names, idle = layout.names(self.kept.name)
        causes: list[tuple[str, ...]] = [()] * count
        told, trusts, whole = [False] * count, [False] * count, [False] * count
        for way, rows in self.ways:
            for row in rows:
                causes[row], told[row] = way.causes, "trust ratio" in way.scalars
                trusts[row], whole[row] = way.trusts, way.whole
        factors = dict.fromkeys(cause for way, _ in self.ways for cause in way.scalars)
        sizes = self.told[0, :, -1] if layout.sharded else layout.sizes
        return Frame(
            self.kept.index, self.kind, names, tuple(layout.groups), tuple(int(n) for n in sizes), idle,
            layout.precision, tuple(causes), tuple(factors), tuple(told), tuple(trusts), tuple(whole),
        )  # fmt: skip

    def _scalars(self, factors: Sequence[str]) -> Array:
        found = np.ones((len(self.run), len(self.layout.params), len(factors)))
        for way, rows in self.ways:
            for cause, value in way.scalars.items():
                found[:, rows, factors.index(cause)] = _column(value)
        return found

    def _sums(self) -> Array:
        """What was told, by the lens's columns."""
        layout, told = self.layout, self.told
        gg, _, _, nonfinite, gd, dd, pp = (told[..., k] for k in range(len(TOLD)))
        sums = np.zeros((*gg.shape, len(AT)))
        if np.isnan(nonfinite).any():
            nonfinite = np.where(np.isnan(nonfinite), np.where(np.isfinite(gg), 0.0, np.nan), nonfinite)
        size = told[..., -1] if layout.sharded else np.array(layout.sizes, dtype=float)
        columns = {"gg": gg, "gd": gd, "dd": dd, "pp": pp, "size": size, "nonfinite": nonfinite}
        for column, values in columns.items():
            sums[..., AT[column]] = values
        return sums

    def _stages(self, sums: Array) -> tuple[Array, Array]:
        """The squared norm after each cause, and after the last; those that were not told are as the one before."""
        gg, uu, mm = (self.told[..., TOLD.index(name)] for name in ("gg", "uu", "mm"))
        mm = np.where(self.layout.moments, mm, np.nan)
        stages, ends = np.full((*gg.shape, STAGES + 1), np.nan), np.full(gg.shape, np.nan)
        for way, rows in self.ways:
            last = gg[:, rows]
            for k, cause in enumerate(way.causes):
                if cause == "agreement" and isinstance(way.formula, Moments):
                    own = _column(way.formula.first) ** 2 * mm[:, rows]
                    last = np.where(np.isnan(own), last, own)
                stages[:, rows, k] = last
            if way.causes:
                ends[:, rows] = _column(unit_of(way, self.kind)) ** 2 * uu[:, rows]
                stages[:, rows, len(way.causes) - 1] = ends[:, rows]
        return stages, ends

    def _look(self, sums: Array, lr: Array, last: Array) -> Array:
        """Agreement, from gradient and direction at the places looked at, and the quantiles there."""
        found = np.full((*lr.shape, len(QUANTILES)), np.nan)
        for looked in _looks(self.run):
            for way, rows in self.ways:
                buffers = [b[:, rows] for b in looked.buffers]
                x = divisor_of(way.formula, buffers, looked.steps)
                cells = np.ix_(looked.steps, rows)
                if x is not None and not self.layout.sharded:
                    found[cells] = _quantiles(lr[cells], x, looked.patches, rows)
                if not isinstance(way.formula, Moments):
                    continue
                u = buffers[0] * _cells(way.formula.first, looked.steps)
                if x is not None:
                    u /= np.maximum(x, 1e-19)  # as our rules divide where nothing came yet
                # so that ‖d‖ is what scales one tensor's direction against another's
                scale = np.sqrt(sums[..., AT["dd"]][cells] / last[cells]) * looked.patches.shares[rows]
                agree, both = judged(looked.fresh[:, rows], u, scale)
                sums[..., AT["agree"]][cells], sums[..., AT["judged"]][cells] = agree, both
        return found


class _Looked(NamedTuple):
    """Steps of which some weights were looked at: which, where, the buffers, and the gradients that came next."""

    steps: list[int]
    patches: Patches
    buffers: Array
    fresh: Array


def _looks(run: Sequence[Yielded]) -> list[_Looked]:
    at: dict[int, tuple[Patches, list[int]]] = {}
    for k, y in enumerate(run):
        if y.patches is not None and y.buffers is not None:
            at.setdefault(id(y.patches), (y.patches, []))[1].append(k)
    found = []
    for patches, steps in at.values():
        buffers = [b for k in steps if (b := run[k].buffers) is not None]
        none = np.zeros_like(buffers[0][0])  # no step came after: nothing agrees, nothing disagrees
        fresh = [none if (g := run[k].fresh) is None else g for k in steps]
        found.append(_Looked(steps, patches, np.stack(buffers, axis=1), np.stack(fresh)))
    return found


def stacked(options: Sequence[Options]) -> Options:
    """A group's options over several steps: those that change as arrays.

    Raises:
        Mixed: one changes that is not a number or some numbers.
    """
    first = options[0]
    if all(o is first for o in options):
        return first
    found = dict(first)
    for key, value in first.items():
        values = [o.get(key) for o in options]
        if key != "params" and values.count(value) != len(values):
            found[key] = _varying(values)
    return found


def _varying(values: Sequence[Any]) -> Any:
    if all(isinstance(v, float | int) and not isinstance(v, bool) for v in values):
        return np.array(values, dtype=float)
    if all(isinstance(v, tuple | list) for v in values) and len({len(v) for v in values}) == 1:
        return tuple(c[0] if c.count(c[0]) == len(c) else _varying(c) for c in zip(*values, strict=True))
    raise Mixed


def _rate(options: Options) -> Any:
    rate = options.get("lr")
    return rate if isinstance(rate, np.ndarray) else float(rate or 0.0)


def _plain(run: Sequence[Yielded]) -> list[tuple[Mapping[str, Any], ...]]:
    """The numbers of each step's options; where nothing has changed, the same objects."""
    known: dict[int, Mapping[str, Any]] = {}
    found: list[tuple[Mapping[str, Any], ...]] = []
    for k, y in enumerate(run):
        if k and y.options is run[k - 1].options:
            found.append(found[-1])
            continue
        found.append(tuple(known.setdefault(id(o), plain(o)) for o in y.options))
    return found


def _column(value: Number) -> Number:
    """A number for each step, over tensors."""
    return value[:, None] if isinstance(value, np.ndarray) else value


def _cells(value: Number, which: Sequence[int]) -> Number:
    """A number for each of some steps, over tensors and places."""
    return value[which][:, None, None] if isinstance(value, np.ndarray) else value


def _quantiles(lr: Array, x: Array, patches: Patches, rows: Sequence[int]) -> Array:
    steps, tensors, width = x.shape
    lengths = np.tile(patches.lengths[rows], steps)
    return quantiles_of(lr.reshape(-1), x.reshape(-1, width), lengths).reshape(steps, tensors, -1)


def divisor_of(formula: Formula, buffers: Sequence[Array], which: Sequence[int]) -> Array | None:
    """√v̂ + ε at some places in some of the steps; None for a method that does not divide."""
    if isinstance(formula, Divided):
        return np.sqrt(_cells(formula.scale, which) * buffers[0]) + _cells(formula.eps, which)  # type: ignore[no-any-return]
    if not isinstance(formula, Moments) or formula.second is None or len(buffers) < 2:
        return None
    if formula.infinity:
        return buffers[1]
    return np.sqrt(_cells(formula.second, which) * buffers[1]) + _cells(formula.eps, which)  # type: ignore[no-any-return]


def unit_of(way: Way, name: str) -> Number:
    """What the direction of the optimizer called ``name`` is to be multiplied with, to be its recipe's.

    A recipe leaves the scalars of a method out of its last vector, and some methods keep them inside.
    """
    formula = way.formula
    if name == "Accelerando" and isinstance(formula, Moments):
        return formula.first
    if name in ("Prodigy", "DAdaptAdam") and isinstance(formula, Moments) and formula.second is not None:
        return formula.first / np.sqrt(formula.second)
    return 1 / way.scalars.get("rectification", 1.0)

"""From sums that optimizers told of their steps to the lens's columns, many steps at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from accelerando.engine.telemetry import TOLD
from accelerando.lens.decay import decoupled
from accelerando.lens.formulas import Divided, Formula, Moments, Number
from accelerando.lens.patches import judged, quantiles_of
from accelerando.lens.recipes import Mixed, Stepped, Way, way_of
from accelerando.lens.sampled import AT, QUANTILES, STAGES, Array, Frame, Samples, plain
from accelerando.lens.yielded import Options, Yielded

Ways = Sequence[tuple[Way, list[int]]]
"""Each recipe, with a number for each step, and the rows of those that it fits."""


def samples_of(run: Sequence[Yielded]) -> list[Samples]:
    """The samples of some steps of one optimizer, in order; those next to each other together that can be."""
    found: list[Samples] = []
    begin = 0
    for k, y in enumerate(run[1:], start=1):
        if y.layout is not run[begin].layout or y.kind != run[begin].kind:
            found += _halved(run[begin:k])
            begin = k
    return found + (_halved(run[begin:]) if run else [])


def _halved(run: Sequence[Yielded]) -> list[Samples]:
    try:
        return [_Run(run).samples()]
    except Mixed:
        half = len(run) // 2
        return _halved(run[:half]) + _halved(run[half:])


class _Run:
    """Steps of the same parameters."""

    def __init__(self, run: Sequence[Yielded]) -> None:
        self.run, self.layout, self.kept = run, run[0].layout, run[0].kept
        self.kind = run[0].kind
        count = range(len(run[0].options))
        self.options = [stacked([y.options[k] for y in run]) for k in count]
        self.after = [stacked([y.after[k] for y in run]) for k in count]
        self.told = np.concatenate([y.sums for y in run]).reshape(len(run), len(self.layout.params), -1)
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
        known = [y.ages for y in run]
        even = all(isinstance(age, float | int) for age in known)
        if even:
            ages = np.array(known, dtype=float)[:, None]
        else:
            ages = np.array([np.broadcast_to(np.array(age, dtype=float), layout.among) for age in known])
            ages = ages if layout.plan is None else ages[:, layout.places]
        rows: dict[tuple[Any, ...], list[int]] = {}
        for row, key in enumerate(zip(layout.groups, layout.kinds, strict=True)):
            own: tuple[Any, ...] = () if even else tuple(ages[:, row].tolist())
            own += (row,) if run[0].ratios is not None else ()
            rows.setdefault((*key, *own), []).append(row)
        return [
            (way_of(self._stepped(ages[:, 0 if even else mine[0]], mine[0])), mine) for mine in rows.values()
        ]

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
        for k, y in enumerate(self.run):
            if y.buffers is None or y.patches is None:
                continue
            for way, mine in self.ways:
                rows = slice(mine[0], mine[-1] + 1) if mine[-1] - mine[0] < len(mine) else mine
                buffers = y.buffers[:, rows]
                x = divisor_of(way.formula, buffers, k)
                if x is not None and not self.layout.sharded:
                    found[k, rows] = quantiles_of(lr[k, rows], x, y.patches.lengths[rows])
                if y.fresh is None or not isinstance(way.formula, Moments):
                    continue
                u = buffers[0] * _at(way.formula.first, k)
                if x is not None:
                    u /= np.maximum(x, 1e-19)  # as our rules divide where nothing came yet
                # so that ‖d‖ is what scales one tensor's direction against another's
                scale = np.sqrt(sums[k, rows, AT["dd"]] / last[k, rows]) * y.patches.shares[rows]
                agree, both = judged(y.fresh[rows], u, scale)
                sums[k, rows, AT["agree"]], sums[k, rows, AT["judged"]] = agree, both
        return found


class Stacked(Mapping[str, Any]):
    """A group's options over several steps: those that change as arrays, made when they are asked for.

    Raises:
        Mixed: on asking for one that changes and is not a number or some numbers.
    """

    def __init__(self, options: Sequence[Options]) -> None:
        self._options, self._known = options, dict[str, Any]()

    def __getitem__(self, key: str) -> Any:
        if key not in self._known:
            first = self._options[0][key]
            values = [o.get(key) for o in self._options]
            self._known[key] = first if values.count(first) == len(values) else _varying(values)
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options[0])

    def __len__(self) -> int:
        return len(self._options[0])


def stacked(options: Sequence[Options]) -> Options:
    """A group's options over several steps."""
    first = options[0]
    return first if all(o is first for o in options) else Stacked(options)


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


def _at(value: Number, step: int) -> float:
    """The number for one of the steps."""
    return float(value[step] if isinstance(value, np.ndarray) else value)


def divisor_of(formula: Formula, buffers: Array, step: int) -> Array | None:
    """√v̂ + ε at some places in one of the steps; None for a method that does not divide."""
    if isinstance(formula, Divided):
        v, scale = buffers[0], formula.scale
    elif isinstance(formula, Moments) and formula.second is not None and len(buffers) > 1:
        v, scale = buffers[1], formula.second
        if formula.infinity:
            return np.asarray(v)
    else:
        return None
    x: Array = v * _at(scale, step)
    np.sqrt(x, out=x)
    x += _at(formula.eps, step)
    return x


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

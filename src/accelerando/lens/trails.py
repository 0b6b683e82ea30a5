"""LR101: a rise within a stretch of constant nominal rate."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from accelerando.lens.events import Finding, Seen, finding
from accelerando.lens.points import MOVEMENTS, Point, cause_of
from accelerando.lens.recipes import CAUSES
from accelerando.lens.rise import risen_in
from accelerando.lens.sampled import Array

ROOM = 256
"""How many points are kept; when there are more, every second one is dropped."""

STEP, NOMINAL, GAIN, NORM, SHARES = range(5)
"""The columns of a trail; the shares take all from theirs on."""


class Trail:
    """The points of a group since its nominal rate last changed."""

    def __init__(self) -> None:
        self._table = np.empty((ROOM + 1, SHARES + len(CAUSES)))
        self._count = 0

    @property
    def table(self) -> Array:
        """A row a point."""
        return self._table[: self._count]

    def go_on(self, points: Array, had: Array, rates: Array) -> None:
        """Take the points of some more steps.

        Args:
            points: a row a step.
            had: whether that step has a point.
            rates: its nominal rate.
        """
        begin = self._changed(points[:, NOMINAL], had, rates)
        if begin is not None:
            self._count = 0
        self._append(points[begin or 0 :][had[begin or 0 :]])

    def _changed(self, nominal: Array, had: Array, rates: Array) -> int | None:
        """The last step whose nominal rate is not that of the point before; None if none is."""
        last = self._table[self._count - 1, NOMINAL] if self._count else rates[0]
        if (rates == last).all():
            return None
        before = np.maximum.accumulate(np.where(had, np.arange(len(rates)), -1))
        before = np.concatenate([[-1], before[:-1]])
        was = np.where(before >= 0, nominal[before], last)
        known = (before >= 0) | (self._count > 0)
        far = np.abs(was - rates) > 1e-9 * np.maximum(np.abs(was), np.abs(rates))
        at = np.flatnonzero(known & (rates != 0) & far)
        return int(at[-1]) if len(at) else None

    def _append(self, points: Array) -> None:
        while len(points):
            some = points[: ROOM + 1 - self._count]
            self._table[self._count : self._count + len(some)] = some
            self._count += len(some)
            points = points[len(some) :]
            if self._count > ROOM:
                kept = self.table[::2].copy()
                self._table[: len(kept)], self._count = kept, len(kept)


class SelfRaised:
    """LR101."""

    LEAST = 2.0
    EVERY = 8

    def __init__(self) -> None:
        self.trails: dict[int, Trail] = {}
        self.said: dict[int, float] = {}
        self.count, self.next = 0, self.EVERY

    def see(self, seen: Seen) -> Iterator[Finding]:
        """A rise within a stretch of constant nominal rate; again only when it has doubled since."""
        begin, groups = 0, seen.samples.frame.present
        while begin < len(seen.samples):
            end = min(len(seen.samples), begin + self.next - self.count)
            for k, group in enumerate(groups):
                points = _points(seen, k + 1, slice(begin, end))
                self.trails.setdefault(group, Trail()).go_on(*points)
            self.count += end - begin
            if (
                self.count == self.next
            ):  # ever more rarely: each look is at everything since the rate last changed
                self.next += max(self.EVERY, self.count // 16)
                for group in groups:
                    yield from self._look(seen, end - 1, group)
            begin = end

    def _look(self, seen: Seen, at: int, group: int) -> Iterator[Finding]:
        table, least = self.trails[group].table, max(self.LEAST, 2 * self.said.get(group, 0.0))
        found = risen_in(table[:, STEP], table[:, GAIN], table[:, NORM], table[:, NOMINAL], least)
        if found is not None and found.factor >= least:
            self.said[group] = found.factor
            early, late = (
                [_point(row) for row in table[b : b + found.width]] for b in (found.early, found.late)
            )
            cause = cause_of(early, late)
            why = f"cause: {cause}{_own(cause, seen.samples.options[at][group])}"
            yield finding("LR101", seen, at, why, group, None, found.factor)


def _points(seen: Seen, column: int, which: slice) -> tuple[Array, Any, Array]:
    """The points of a group, which of them there are, and the nominal rates."""
    heads = seen.heads
    lr, gain, norm = (x[which, column] for x in (heads.lr, heads.gain, heads.grad_norm))
    shares = heads.shares[which, column]
    rates = np.where(np.isfinite(lr), lr, 0.0)
    with np.errstate(all="ignore"):
        had = (gain > 0) & (norm > 0) & np.isfinite(gain * norm) & np.isfinite(shares[:, 0])
    steps = seen.samples.steps[which]
    return (
        np.column_stack([steps, rates, gain, norm, np.nan_to_num(shares, posinf=0.0, neginf=0.0)]),
        had,
        rates,
    )


def _point(row: Array) -> Point:
    step, nominal, gain, norm, *shares = row.tolist()
    return Point(int(step), nominal, gain, norm, tuple(shares))


def _own(cause: str, options: Mapping[str, Any]) -> str:
    """That a rise is the method's own movement, and how much the gradients agreed when it was seen."""
    if cause not in MOVEMENTS:
        return ""
    agreed = options.get("agreement")
    with_it = "" if agreed is None else f"; agreement {agreed:.2f}"
    return f", the method's own rise{with_it}"

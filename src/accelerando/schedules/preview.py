"""The whole curve of a schedule, as a table and a figure, with every rise marked."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDLESS = 1000
"""Steps shown of a schedule that never ends, when no number is given."""

Kind = Literal["rises", "falls", "holds", "jumps up"]


@dataclass(frozen=True)
class Stretch:
    """Steps ``first`` to ``last`` over which a rate only rises, only falls or holds."""

    kind: Kind
    first: int
    last: int
    begins: float
    ends: float

    @property
    def rises(self) -> bool:
        """Whether the rate is higher at its end."""
        return self.ends > self.begins

    def __str__(self) -> str:
        if self.kind == "holds":
            return f"holds {self.begins:.4g}"
        ratio = f" (×{self.ends / self.begins:.4g})" if self.begins > 0 and self.ends > 0 else ""
        return f"{self.kind} {self.begins:.4g} → {self.ends:.4g}{ratio}"


@dataclass(frozen=True)
class Curve:
    """The rate of one parameter group at every step from 0."""

    rates: np.ndarray
    length: int | None
    label: str

    def stretches(self) -> list[Stretch]:
        """The curve cut where it turns; a single-step rise to at least 1.5 times the rate is a jump."""
        moves = np.diff(self.rates)
        moves[np.abs(moves) <= 4e-16 * np.abs(self.rates[1:]).max(initial=0.0)] = 0.0
        ways = np.sign(moves).astype(int)
        jump = (ways > 0) & (self.rates[1:] >= 1.5 * self.rates[:-1])
        jump &= np.concatenate([[True], ways[:-1] <= 0]) & np.concatenate([ways[1:] <= 0, [True]])
        kinds = np.where(jump, 2, ways)
        cuts = np.flatnonzero(np.diff(kinds)) + 1
        bounds = [0, *cuts.tolist(), len(moves)]
        return [self._stretch(int(kinds[a]), a, b) for a, b in itertools.pairwise(bounds) if b > a]

    def rises(self) -> list[Stretch]:
        """The stretches over which the rate rises."""
        return [stretch for stretch in self.stretches() if stretch.rises]

    def _stretch(self, kind: int, first: int, last: int) -> Stretch:
        names: dict[int, Kind] = {1: "rises", -1: "falls", 0: "holds", 2: "jumps up"}
        return Stretch(names[kind], first, last, float(self.rates[first]), float(self.rates[last]))


@dataclass(frozen=True)
class Preview:
    """What a schedule will do, before it does it; print it, or save its figure.

    Attributes:
        curves: one for each parameter group whose curve differs.
        note: what else changes (momentum), or nothing.
    """

    curves: tuple[Curve, ...]
    note: str = ""

    @property
    def rises(self) -> list[Stretch]:
        """Every rise of the first curve."""
        return self.curves[0].rises()

    def table(self, rows: int = 24) -> str:
        """Every stretch of every curve, rises marked with ▲; beyond ``rows`` the middle is counted."""
        parts = []
        for curve in self.curves:
            stretches = curve.stretches()
            lines = [_line(stretch, curve.length) for stretch in stretches]
            if len(lines) > rows:
                hidden = stretches[rows - 4 : -4]
                rising = sum(stretch.rises for stretch in hidden)
                more = f"  … {len(hidden)} more stretches, {rising} of them rises …"
                lines = [*lines[: rows - 4], more, *lines[-4:]]
            rising = sum(stretch.rises for stretch in stretches)
            last = len(curve.rates) - 1
            head = f"{curve.label}: steps 0 to {last}, {rising} rise{'s' * (rising != 1)}"
            parts.append("\n".join([head, *lines]))
        return "\n".join([*parts, self.note] if self.note else parts)

    def figure(self) -> "Figure":
        """The curves as a matplotlib figure, rises drawn thick and shaded; matplotlib is imported here."""
        from accelerando.schedules.figure import draw

        return draw(self)

    def save(self, path: str | Path) -> Path:
        """Save the figure; the name's ending chooses the format."""
        self.figure().savefig(path, dpi=150)
        return Path(path)

    def __str__(self) -> str:
        return self.table()


def preview(
    schedules: Sequence[Schedule], steps: int | None, lrs: Sequence[float], note: str = ""
) -> Preview:
    """The preview of one schedule for each group; groups that do the same share a curve."""
    lengths = [schedule.length for schedule in schedules]
    if steps is None:
        known = [length for length in lengths if length is not None]
        steps = ENDLESS if len(known) < len(lengths) else max(known) + max(1, max(known) // 10)
    grid = np.arange(whole("preview", "steps", steps) + 1)
    members: dict[tuple[Schedule, float], list[int]] = {}
    for i, (schedule, lr) in enumerate(zip(schedules, lrs, strict=True)):
        members.setdefault((schedule, lr), []).append(i)
    curves = [
        Curve(lr * schedule(grid), schedule.length, _label(schedule, groups, len(schedules)))
        for (schedule, lr), groups in members.items()
    ]
    return Preview(tuple(curves), note)


def _label(schedule: Schedule, groups: list[int], total: int) -> str:
    if len(groups) == total:
        return repr(schedule)
    return f"group {', '.join(map(str, groups))}: {schedule!r}"


def _line(stretch: Stretch, length: int | None) -> str:
    mark = "▲" if stretch.rises else " "
    past = " (past its end)" if length is not None and stretch.first >= length else ""
    return f"{mark} {stretch.first:>8} – {stretch.last:<8} {stretch}{past}"

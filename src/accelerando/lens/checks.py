"""What the lens looks for while it records; each check says a thing once."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Protocol

import numpy as np

from accelerando.lens.causes import chains_of
from accelerando.lens.codes import CODES
from accelerando.lens.recipes import CAUSES
from accelerando.lens.rise import Found, find_rise
from accelerando.lens.rows import CAUSE_FIELDS, Row
from accelerando.lens.sampled import Step
from accelerando.lens.shapes import risen_past_a_cosine

MOVEMENTS = ("probe", "rise", "settle")
"""The causes that are a method's own movement."""


@dataclass(frozen=True)
class Event:
    """A finding.

    Attributes:
        code: one of `accelerando.lens.codes.CODES`.
        step: when it was seen.
        optimizer: index of the optimizer.
        group: index of the group; None if it is about all of them.
        tensor: name of the parameter; None if it is about the group.
        factor: how much, where there is a number to it.
        cause: why, as far as it is known.
        advice: one sentence.
    """

    code: str
    step: int
    optimizer: int
    group: int | None
    tensor: str | None
    factor: float | None
    cause: str
    advice: str

    def __str__(self) -> str:
        where = self.tensor or (f"group {self.group}" if self.group is not None else "all groups")
        much = "" if self.factor is None else f" ({self.factor:.3g}×)"
        title = CODES[self.code].title if self.code in CODES else "unknown to this release"
        return f"{self.code} step {self.step}, {where}: {title}{much}; {self.cause}. {self.advice}"

    def as_dict(self) -> dict[str, Any]:
        """As a flat dictionary."""
        return asdict(self)


def event(
    code: str,
    step: Step,
    cause: str,
    group: int | None = None,
    tensor: str | None = None,
    factor: float | None = None,
) -> Event:
    """A finding at this step, with its code's advice."""
    return Event(code, step.step, step.optimizer, group, tensor, factor, cause, CODES[code].advice)


class Check(Protocol):
    """Looks at every sampled step of one optimizer, in order."""

    def see(self, step: Step, rows: list[Row]) -> Iterable[Event]:
        """The findings of this step; ``rows`` are the optimizer's and its groups'."""


@dataclass(frozen=True, slots=True)
class Point:
    """A row in little: what a rise is looked for in."""

    step: int
    nominal: float
    gain: float
    grad_norm: float
    shares: tuple[float, ...]


def point_of(row: Row) -> Point | None:
    """The point of a row that has a gain."""
    if not row["gain"] or row[CAUSE_FIELDS[0]] is None or not row["grad_norm"]:
        return None
    shares = tuple(row[field] or 0.0 for field in CAUSE_FIELDS)
    return Point(row["step"], row["lr"] or 0.0, row["gain"], row["grad_norm"], shares)


def cause_of(found: Found) -> str:
    """The factor of log(gain) that grew most, the echo of a falling gradient taken off the second moment."""
    early, late = ([p for p in window if isinstance(p, Point)] for window in (found.early, found.late))
    grown = {
        cause: median(p.shares[i] for p in late) - median(p.shares[i] for p in early)
        for i, cause in enumerate(CAUSES)
    }
    fall = median(math.log(p.grad_norm) for p in early) - median(math.log(p.grad_norm) for p in late)
    if grown["second moment"] > 0:
        grown["second moment"] = max(0.0, grown["second moment"] - max(0.0, fall))
    return max(grown, key=lambda cause: grown[cause])


class SelfRaised:
    """LR101."""

    LEAST = 2.0
    ROOM = 256
    EVERY = 8

    def __init__(self) -> None:
        self.points: dict[int, list[Point]] = {}
        self.said: dict[int, float] = {}
        self.count, self.next = 0, self.EVERY

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """A rise within a stretch of constant nominal rate; again only when it has doubled since."""
        self.count += 1
        look = self.count == self.next
        if look:  # ever more rarely: each look is at everything since the nominal rate last changed
            self.next += max(self.EVERY, self.count // 16)
        for row in rows:
            if row["scope"] != "group":
                continue
            point, points = point_of(row), self.points.setdefault(row["group"], [])
            if points and row["lr"] and not math.isclose(points[-1].nominal, row["lr"], rel_tol=1e-9):
                points.clear()
            if point is not None:
                points.append(point)
            if len(points) > self.ROOM:
                del points[1::2]
            if look:
                yield from self._look(step, row["group"], points)

    def _look(self, step: Step, group: int, points: list[Point]) -> Iterator[Event]:
        found = find_rise(points, self.LEAST)
        if found is not None and found.factor >= 2 * self.said.get(group, 0.5):
            self.said[group] = found.factor
            cause = cause_of(found)
            why = f"cause: {cause}{_own(cause, step.groups[group])}"
            yield event("LR101", step, why, group, None, found.factor)


def _own(cause: str, options: Mapping[str, Any]) -> str:
    """That a rise is the method's own movement, and how much the gradients agreed when it was seen."""
    if cause not in MOVEMENTS:
        return ""
    agreed = options.get("agreement")
    with_it = "" if agreed is None else f"; agreement {agreed:.2f}"
    return f", the method's own rise{with_it}"


class PastCosine:
    """LR102."""

    ROOM = 512

    def __init__(self) -> None:
        self.rates: dict[int, list[tuple[int, float]]] = {}
        self.said: set[int] = set()

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """The rate rising again on the curve on which it fell."""
        for index, group in enumerate(step.groups):
            rates = self.rates.setdefault(index, [])
            rates.append((step.step, float(group.get("lr") or 0.0)))
            if len(rates) > self.ROOM:
                del rates[1::2]
            if index in self.said or len(rates) < 12 or rates[-1][1] <= rates[-2][1]:
                continue
            bottom = risen_past_a_cosine(rates)
            if bottom is not None:
                self.said.add(index)
                low = min(rate for _, rate in rates)
                factor = rates[-1][1] / low if low > 0 else None
                yield event("LR102", step, f"its end was at about step {bottom}", index, None, factor)


class BetaOverwritten:
    """LR103."""

    def __init__(self) -> None:
        self.first: dict[int, float] = {}
        self.said: set[int] = set()

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """beta1 or momentum other than at the first sample."""
        for index, group in enumerate(step.groups):
            betas = group.get("betas")
            now = betas[0] if betas else group.get("momentum")
            if not isinstance(now, int | float):
                continue
            was = self.first.setdefault(index, float(now))
            if now != was and index not in self.said:
                self.said.add(index)
                name = "betas[0]" if betas else "momentum"
                cause = f"{name} was {was:.6g} and is {now:.6g}"
                yield event("LR103", step, cause, index, None, float(now) / was if was else None)


class DistanceStuck:
    """LR104."""

    AFTER = 50

    def __init__(self) -> None:
        self.said: set[int] = set()
        self.lost: dict[int, bool] = {}

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """The first d, d0, still there after 50 steps."""
        for index, group in enumerate(step.groups):
            d, d0 = group.get("d"), group.get("d0")
            if d is None or d0 is None:
                continue
            row = next((r for r in rows if r["scope"] == "group" and r["group"] == index), None)
            still = row is not None and not row["gain"]
            self.lost[index] = self.lost.get(index, True) and still
            if step.step >= self.AFTER and d <= d0 * (1 + 1e-9) and index not in self.said:
                self.said.add(index)
                why = "gradients and displacement do not correlate yet"
                if self.lost[index]:
                    why = f"no step moved a weight: in {step.precision} a step of lr·d rounds away"
                yield event("LR104", step, f"d = {d:.3g}; {why}", index)


class Unmoved:
    """LR105."""

    AFTER = 10

    def __init__(self) -> None:
        self.still: dict[str, int] = {}
        self.settled: Sequence[str] = ()

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """A tensor that no sampled step has moved, after ten of them."""
        tensors = step.tensors
        moved = (tensors.sum("dd") != 0) | (tensors.lr == 0)
        if not (moved.all() and self.settled == tensors.names):
            for name, group, has, gg in zip(
                tensors.names, tensors.groups, moved.tolist(), tensors.sum("gg").tolist(), strict=True
            ):
                yield from self._count(step, name, group, has, self._why(gg, step.precision))
            self.settled = tensors.names if moved.all() else ()
        for name in step.idle:
            yield from self._count(step, name, None, False, "it has no gradient")

    def _count(self, step: Step, name: str, group: int | None, moved: bool, why: str) -> Iterator[Event]:
        if moved:
            self.still[name] = -1
        elif self.still.setdefault(name, 0) >= 0:
            self.still[name] += 1
            if self.still[name] == self.AFTER:
                yield event("LR105", step, why, group, name)

    def _why(self, gg: float, precision: str) -> str:
        return f"its step rounds away in {precision}" if gg > 0 else "its gradient is exactly zero"


class FirstPeak:
    """LR106."""

    LATER, SETTLED = 5, 100
    KNOWN, METHOD = 3.0, 5.0  # averaging noise alone shortens a step up to 4.4 times at beta1 = 0.9

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float, float]] = []

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """The first step's length, beyond rate and gradients, against five samples from step 100 on."""
        row = rows[0]
        if step.step != 1 and (not self.seen or step.step < self.SETTLED or len(self.seen) > self.LATER):
            return
        if point_of(row) is None:
            return
        share = dict(zip(CAUSES, (row[field] for field in CAUSE_FIELDS), strict=True))
        known = sum(share[c] for c in ("bias correction", "trust ratio", "distance"))
        self.seen.append((step.step, known, share["method"], math.log(row["grad_norm"])))
        if len(self.seen) <= self.LATER:
            return
        first, later = self.seen[0], self.seen[1:]
        drop = [first[i] - median(s[i] for s in later) for i in (1, 2, 3)]
        unscaled = drop[1] + min(0.0, drop[2])  # a method that divides by the gradient echoes its growth
        for excess, least, cause in ((drop[0], self.KNOWN, "scalars"), (unscaled, self.METHOD, "method")):
            if excess >= math.log(least):
                yield event("LR106", step, f"cause: its {cause}", None, None, math.exp(excess))
                return


class DecayRules:
    """LR107."""

    ROW = 5

    def __init__(self) -> None:
        self.times: dict[int, int] = {}

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """Decay's share above one half in five samples in a row."""
        for row in rows:
            if row["scope"] != "group" or self.times.get(row["group"], 0) < 0:
                continue
            group, share = row["group"], row["decay_share"] or 0.0
            self.times[group] = self.times.get(group, 0) + 1 if share > 0.5 else 0
            if self.times[group] == self.ROW:
                self.times[group] = -1
                cause = f"decay is {share:.0%} of the way the weights went"
                yield event("LR107", step, cause, group, None, share / (1 - share) if share < 1 else None)


class OtherRate:
    """LR108."""

    ROW = 5
    LEAST = math.log(1.02)

    def __init__(self) -> None:
        self.off: dict[int, list[float]] = {}

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """A remainder where the recipe is the whole method and its direction is the one taken."""
        if step.precision not in ("float32", "float64"):
            return
        for row in rows:
            if row["scope"] != "group":
                continue
            off = self.off.setdefault(row["group"], [])
            if len(off) >= self.ROW:
                continue
            method = row["log_method"]
            if method is None or abs(method) < self.LEAST or not _as_the_recipe_says(step, row["group"]):
                off.clear()
                continue
            off.append(method)
            if len(off) == self.ROW:
                factor = math.exp(median(off))
                cause = f"the steps are {factor:.4g} times what lr = {row['lr']:.4g} asks for"
                yield event("LR108", step, cause, row["group"], None, factor)


def _as_the_recipe_says(step: Step, group: int) -> bool:
    """Whether every step of a group went where a recipe that is all there is to the method points."""
    tensors = step.tensors
    mine = np.array(tensors.groups) == group
    if not tensors.whole[mine].all():
        return False
    right = chains_of(tensors).right[mine]
    return bool(((tensors.sum("dd")[mine] == 0) | (right > 0.9999)).all())


class NotFinite:
    """LR109."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def see(self, step: Step, rows: list[Row]) -> Iterator[Event]:
        """The first gradient of a tensor that is not finite."""
        tensors, counts = step.tensors, step.tensors.sum("nonfinite")
        for row in np.flatnonzero(counts).tolist():
            name = tensors.names[row]
            if name not in self.said:
                self.said.add(name)
                what = f"{counts[row]:.0f} of {tensors.sum('size')[row]:.0f} elements"
                yield event("LR109", step, what, tensors.groups[row], name)


def checks() -> list[Check]:
    """One of each, for one optimizer."""
    return [
        SelfRaised(),
        PastCosine(),
        BetaOverwritten(),
        DistanceStuck(),
        Unmoved(),
        FirstPeak(),
        DecayRules(),
        OtherRate(),
        NotFinite(),
    ]

"""The guarded raise as a machine without torch: readings in, verdicts out."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from accelerando.schedules.trend import Trend, trend

Verdict = Literal["raise", "keep", "undo", "retreat"]

LONGEST = 16
"""Windows in the longest look; after one without a verdict its older half is forgotten."""

ALARM = 4
"""Readings of a trial whose mean is held against the level before it."""


@dataclass
class Guard:
    """Asks for a raise when a metric surely falls, and judges each raise by a trial.

    *Watching*: a trend is fitted after ``window``, then each doubling up to 16 windows. If the metric
    falls by more than ``sure`` standard errors of its slope, a raise is asked for.
    *Trial*: after ``window / 8`` readings that are not looked at, the slope is compared with the one
    before the raise, again after ``window`` readings and each doubling up to the length of the first look.
    The raise is kept if the metric now falls faster (by more than ``sure`` standard errors of the
    difference early on, by more than 1 at the end) and undone otherwise; at once if the last few readings
    lie above the old level by 3 of their standard errors. A kept raise is followed by the next one at once
    if its own trial shows sure progress.
    *Waiting*: after an undone raise nothing is tried for 2·``window`` readings, twice as many after each
    further one.
    *Retreat*: while watching, a metric that surely rises after a raise was kept undoes that raise too.

    Attributes:
        window: readings of the shortest look, at least 8.
        sure: standard errors that count as evidence.
    """

    window: int
    sure: float
    readings: list[float] = field(default_factory=list)
    before: Trend | None = None
    skip: int = 0
    wait: int = 0
    undone: int = 0
    kept: int = 0
    eager: bool = False

    @property
    def on_trial(self) -> bool:
        """Whether a raise is being judged."""
        return self.before is not None

    def hear(self, reading: float, may_raise: bool) -> Verdict | None:
        """Take in one reading, lower being better; NaN and infinity end a trial at once."""
        if not math.isfinite(reading):
            return self._undo() if self.on_trial else None
        if self.skip:
            self.skip -= 1
            return None
        self.readings.append(reading)
        return self._judge() if self.before is not None else self._watch(may_raise)

    def _watch(self, may_raise: bool) -> Verdict | None:
        self.wait = max(0, self.wait - 1)
        if not self.eager and not self._time_to_look(LONGEST * self.window):
            return None
        self.eager = False
        seen = trend(self.readings)
        if self.kept and seen.confidence > max(3.0, self.sure):
            self.kept -= 1
            self._pause()
            return "retreat"
        if seen.confidence < -self.sure and may_raise and not self.wait:
            self.before = seen
            self.readings.clear()
            self.skip = self.window // 8
            return "raise"
        if seen.count >= LONGEST * self.window:
            del self.readings[: seen.count // 2]
        return None

    def _judge(self) -> Verdict | None:
        before = self.before
        if before is None:
            return None
        if self._alarmed(before):
            return self._undo()
        last = before.count if before.count > self.window else self.window
        if not self._time_to_look(last):
            return None
        now = trend(self.readings)
        error = math.hypot(now.error, before.error)
        faster = (before.slope - now.slope) / error if error > 0.0 else before.slope - now.slope
        if faster > (1.0 if now.count >= last else self.sure):
            self.kept += 1
            self.undone = 0
            self.before, self.eager = None, True
            return "keep"
        return self._undo() if now.count >= last or faster < -1.0 else None

    def _time_to_look(self, last: int) -> bool:
        count = len(self.readings)
        return count >= self.window and (count >= last or math.log2(count / self.window).is_integer())

    def _alarmed(self, before: Trend) -> bool:
        recent = self.readings[-ALARM:]
        limit = before.end + 3.0 * before.noise / math.sqrt(ALARM)
        return len(recent) == ALARM and sum(recent) / ALARM > limit

    def _undo(self) -> Verdict:
        self.undone += 1
        self._pause()
        return "undo"

    def _pause(self) -> None:
        self.before = None
        self.readings.clear()
        self.skip = self.window // 8
        self.wait = self.window * 2 ** min(self.undone, 10)

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Guard":
        """The guard that gave ``state``."""
        before = state["before"]
        return cls(**{**state, "before": None if before is None else Trend(**before)})

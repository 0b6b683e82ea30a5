"""Sampled steps on their way to the record: worked out several at a time, so that each costs little."""

import os
from collections.abc import Callable, Sequence
from time import monotonic

from accelerando.lens.checks import checks
from accelerando.lens.rows import lines_of
from accelerando.lens.sampled import Step
from accelerando.lens.sinks import Log, numbers_of
from accelerando.lens.store import Sample, Store

ROOM = 32
"""How many sampled steps wait at most."""

PATIENCE = 1.0
"""How many seconds they wait at most, while steps are being sampled."""


class Batch:
    """Gathers sampled steps, and makes rows, events and lines of the file of all of them at once.

    Args:
        store: where samples and events go.
        count: how many optimizers there are.
        sinks: where numbers are logged; if there are any, nothing waits, because trackers want steps in order.
    """

    def __init__(self, store: Store, count: int, sinks: Sequence[Log]) -> None:
        self.store, self.sinks = store, sinks
        self.checks = [checks() for _ in range(count)]
        self._waiting: list[Callable[[], Step]] = []
        self._since = 0.0
        self._process = os.getpid()

    def add(self, step: Callable[[], Step]) -> None:
        """Take a sampled step."""
        now = monotonic()
        if not self._waiting:
            self._since = now
        self._waiting.append(step)
        if self.sinks or len(self._waiting) >= ROOM or now - self._since >= PATIENCE:
            self.work()

    def work(self) -> None:
        """Record all that waits."""
        waiting, self._waiting = self._waiting, []
        if not waiting or os.getpid() != self._process:  # a forked process has only a copy
            return
        steps = [step() for step in waiting]
        for step, lines in zip(steps, lines_of(steps), strict=True):
            self.store.add(Sample(step.optimizer, step.step, lines))
            head = lines.head()
            for check in self.checks[step.optimizer]:
                for found in check.see(step, head):
                    self.store.event(found.as_dict())
            if self.sinks:
                numbers = numbers_of(lines)
                for log in self.sinks:
                    log(numbers, step.step)

"""Sampled steps on their way to the record: worked out several at a time, so that each costs little."""

import os
from collections.abc import Sequence
from itertools import groupby
from time import monotonic

from accelerando.lens.checks import Checks
from accelerando.lens.rows import Block
from accelerando.lens.sampled import Samples, joined
from accelerando.lens.sinks import Log, numbers_of
from accelerando.lens.store import Store
from accelerando.lens.told import samples_of
from accelerando.lens.yielded import Yielded

ROOM, CELLS = 256, 1 << 21
"""How many sampled steps wait at most, and how many numbers of theirs."""

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
        self.checks = [Checks() for _ in range(count)]
        self.order = 0
        """How many sampled steps there have been."""
        self._waiting: list[list[Samples | Yielded]] = [[] for _ in range(count)]
        self._count = self._cells = 0
        self._since = 0.0
        self._process = os.getpid()

    def add(self, step: Samples | Yielded) -> None:
        """Take a sampled step."""
        now = monotonic()
        if not self._count:
            self._since = now
        self.order += 1
        self._count += 1
        self._cells += step.cells
        self._waiting[step.index].append(step)
        if self.sinks or self._count >= ROOM or self._cells >= CELLS or now - self._since >= PATIENCE:
            self.work()

    def work(self) -> None:
        """Record all that waits."""
        if not self._count:
            return
        waiting, self._waiting = self._waiting, [[] for _ in self._waiting]
        self._count = self._cells = 0
        if os.getpid() != self._process:  # a forked process has only a copy
            return
        made = [samples for steps in waiting for samples in _made(steps)]
        entries = [(Block(m.without_options()), self.checks[m.index].see(m)) for m in made]
        self.store.add(entries)
        for log in self.sinks:
            for block, _ in entries:
                for k, step in enumerate(block.samples.steps.tolist()):
                    log(numbers_of(block.lines(k)), step)


def _made(steps: Sequence[Samples | Yielded]) -> list[Samples]:
    """The samples of one optimizer."""
    found: list[Samples] = []
    for _, run in groupby(steps, key=type):
        several = list(run)
        found += samples_of([step for step in several if isinstance(step, Yielded)])
        found += [step for step in several if isinstance(step, Samples)]
    return joined(found)

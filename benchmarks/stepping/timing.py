"""Interleaved rounds in one process, and what a ratio of two times is worth."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from scipy import stats

ROUNDS = 30
SLOW = 6.0
"""A contender this many times slower than the fastest in three rounds is timed no further."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one step.

    Attributes:
        median: of the rounds.
        low: the quickest round.
        rounds: how many.
        ratio: our time over theirs, geometric mean over paired rounds; with its 95 % interval.
    """

    median: float
    low: float
    rounds: int
    ratio: tuple[float, float, float] | None

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


class Stepped(Protocol):
    """A contender with its parameters."""

    def prepare(self, number: int) -> None:
        """Put the gradients of this step, in another place than the last, where the optimizer finds them."""

    def step(self) -> Any:
        """The step that is timed."""


def rounds(contenders: Sequence[Stepped], device: str, smallest: float = 2e-3) -> list[list[float]]:
    """Seconds per step of each contender, the first being ours, in each round.

    Args:
        contenders: warmed up here.
        device: waited for before and after each step, if it is a GPU.
        smallest: seconds that one reading lasts at least, by repeating steps.
    """
    counts = []
    for contender in contenders:
        _read(contender, 3, device)
        counts.append(max(1, math.ceil(smallest / max(_read(contender, 1, device), 1e-7))))
    found: list[list[float]] = [[] for _ in contenders]
    alive = list(range(len(contenders)))
    for number in range(ROUNDS):
        for k in alive if number % 2 == 0 else alive[::-1]:
            found[k].append(_read(contenders[k], counts[k], device))
        if number == 2:
            best = min(min(f) for f in found)
            alive = [k for k in alive if k == 0 or min(found[k]) < SLOW * best]
    return found


def _read(contender: Stepped, count: int, device: str) -> float:
    total = 0.0
    for number in range(count):
        contender.prepare(number)
        _wait(device)
        begin = time.perf_counter()
        contender.step()
        _wait(device)
        total += time.perf_counter() - begin
    return total / count


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def summarise(found: Sequence[Sequence[float]]) -> list[Timing]:
    """Each contender's timing; ratios of the first contender's time to it."""
    ours = found[0]
    made = []
    for k, theirs in enumerate(found):
        ratio = None
        if k:
            logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=False)]
            mean, spread = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
            reach = float(stats.t.ppf(0.975, len(logs) - 1)) * spread
            ratio = (math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))
        made.append(Timing(statistics.median(theirs), min(theirs), len(theirs), ratio))
    return made

"""The smallest lens: one reading a step for a whole optimizer, of any library, through its step hooks.

Nothing is patched. Before a step the weights and the rate are noted; after it the gradients are read, which a
closure may have made only during the step, and the displacement.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

from accelerando.errors import HyperparameterError
from accelerando.lens.flat import flat
from accelerando.lens.rise import rise_of
from accelerando.lens.snapshot import Call, Memories, Snapshot, moved
from accelerando.lens.sums import Sums, summed
from accelerando.lens.unwrap import unwrap

__all__ = ["Measure", "Reading", "measure", "rise_of"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one step did, over all parameters that had a gradient. Decoupled weight decay is taken out.

    Attributes:
        step: how many times ``step`` had been called, this call included.
        nominal: ``group["lr"]`` as the step found it; over several groups, the mean weighted by their size.
        gain: ‖d‖/‖g‖, displacement per gradient; above zero unless nothing moved.
        alignment: −cos(g, d), in [−1, 1].
        effective: gain × alignment, the SGD rate that best explains the step; may be negative.
        grad_norm: ‖g‖, as the optimizer was given it.
        displacement_norm: ‖d‖ without decay's share.
    """

    step: int
    nominal: float
    gain: float
    alignment: float
    effective: float
    grad_norm: float
    displacement_norm: float


def measure(optimizer: Any, every: int = 1) -> "Measure":
    """Measure ``optimizer``, or the one a wrapper holds, from now until closed.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> sgd = torch.optim.SGD([w], lr=0.5)
    >>> with measure(sgd) as measured:
    ...     w.grad = torch.ones(3)
    ...     sgd.step()
    >>> measured.readings[0].gain
    0.5
    """
    return Measure(optimizer, every)


class Measure:
    """A pair of step hooks and what they have read.

    A step gives no reading if there is nothing to divide by or it was not a step: gradients all zero, missing
    or not finite (also where a gradient scaler skipped it), weights no longer finite, or a rate of zero with
    gradients of zero, which is how checkpointing code makes an optimizer create its state.

    Args:
        optimizer: a `torch.optim.Optimizer`, or a wrapper around one (as ``.optimizer``, ``.optim`` or
            ``._optimizer``).
        every: read the first step and each ``every``-th after it; between them a step costs one comparison.

    Raises:
        HyperparameterError: ``every`` is not a positive integer.
        UnsupportedTensorError: there is no optimizer inside.
    """

    def __init__(self, optimizer: Any, every: int = 1) -> None:
        if every < 1 or every != int(every):
            raise HyperparameterError(f"measure: every must be an integer of at least 1, got {every}")
        self.every = every
        self._readings: list[Reading] = []
        self._pending: tuple[int, float, Sums, list[torch.Tensor]] | None = None
        self._memories = Memories()
        self._before: Snapshot | None = None
        self._open: FrameType | None = None
        self._calls = 0
        self._keep_gradients = True  # until a step shows that it leaves them alone
        inside = unwrap(optimizer)
        self._hooks = [
            inside.register_step_pre_hook(self._pre),
            inside.register_step_post_hook(self._post),
        ]

    def __enter__(self) -> "Measure":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off. The readings stay."""
        for hook in self._hooks:
            hook.remove()
        self._before = self._open = None
        self._memories = Memories()

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Everything read so far. On a GPU this waits for the last sampled step."""
        self._fetch()
        return tuple(self._readings)

    def _pre(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Call | None:
        caller = sys._getframe(1)
        if self._open is not None and runs_in(caller, self._open):
            return None  # a subclass that calls its parent's step: one step, though the hooks run twice
        self._open = caller
        self._calls += 1
        self._before = None
        if (self._calls - 1) % self.every:
            return None
        with torch.no_grad():
            self._before = Snapshot(optimizer, self._memories, self._keep_gradients)
            return self._before.watch(args, kwargs)

    def _post(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if sys._getframe(1) is not self._open:
            return
        self._open = None
        before, self._before = self._before, None
        if before is None:
            return
        self._fetch()
        self._keep_gradients = before.altered() or (self._keep_gradients and bool(self._readings))
        rate = _nominal(before)
        with torch.no_grad(), np.errstate(all="ignore"):
            sums = _sums(before)
        before.release()
        if sums is None:
            return
        if rate == 0 and not any(gg for gg, _, _ in sums.table(())):
            self._calls -= 1
            return
        self._pending = (self._calls, rate, sums, [h.p for h in before.held if h.given() is not None])

    def _fetch(self) -> None:
        if self._pending is None:
            return
        step, rate, sums, owners = self._pending
        self._pending = None
        gg, gd, dd = (sum(column) for column in zip(*sums.table(owners), strict=True))
        if not (math.isfinite(gg) and math.isfinite(dd) and math.isfinite(gd)) or gg <= 0:
            return
        g, d = math.sqrt(gg), math.sqrt(dd)
        alignment = max(-1.0, min(1.0, -gd / (g * d))) if d else 0.0
        self._readings.append(Reading(step, rate, d / g, alignment, -gd / gg, g, d))


def _sums(before: Snapshot) -> Sums | None:
    """⟨g,g⟩, ⟨g,d⟩, ⟨d,d⟩ of every parameter with a gradient; None without any."""
    held = [(h, g) for h in before.held if (g := h.given()) is not None]
    if not held:
        return None
    sums = Sums(len(held), 3)
    now = [flat(h.p) for h, _ in held]
    kinds: dict[float, list[int]] = {}
    for row, (h, _) in enumerate(held):
        kinds.setdefault(h.keep, []).append(row)
    for keep, rows in kinds.items():
        for block in before.blocks([(row, held[row][0]) for row in rows]):
            g = block.gather(lambda row: held[row][1])
            d = moved(block, block.gather(now.__getitem__), keep)
            x, y = summed(g), summed(d)
            for column, (a, b) in enumerate(((x, x), (x, y), (y, y))):
                sums.add(block.segments, column, a, b)
    return sums


def _nominal(before: Snapshot) -> float:
    """The rate the step found."""
    sizes = [0] * len(before.groups)
    for held in before.held:
        sizes[held.group] += held.p.numel()
    return mean_rate([(float(g.get("lr") or 0.0), n) for g, n in zip(before.groups, sizes, strict=True)])


def mean_rate(rates: Sequence[tuple[float, int]]) -> float:
    """The mean rate, weighted by how many weights have it; exact where all have the same."""
    held = [(rate, size) for rate, size in rates if size]
    if len({rate for rate, _ in held}) <= 1:
        return held[0][0] if held else 0.0
    return sum(rate * size for rate, size in held) / sum(size for _, size in held)


def runs_in(inner: FrameType, outer: FrameType) -> bool:
    frame: FrameType | None = inner
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is outer

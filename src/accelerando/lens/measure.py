"""The smallest lens: one reading a step for a whole optimizer, of any library, through its step hooks.

Nothing is patched. Before a step the weights and the rate are noted; after it the gradients are read, which a
closure may have made only during the step, and the displacement. An optimizer of ours sums both while it steps.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

from accelerando.errors import HyperparameterError
from accelerando.lens.rise import rise_of
from accelerando.lens.snapshot import Call
from accelerando.lens.steps import Step, Steps
from accelerando.lens.sums import Sums
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


def measure(optimizer: Any, every: int | None = 1) -> "Measure":
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
        every: read the first step and each ``every``-th after it; between them a step costs its hooks and one
            comparison. None: read the steps made within `at`, and leave all others alone.

    Raises:
        HyperparameterError: ``every`` is neither None nor a positive integer.
        UnsupportedTensorError: there is no optimizer inside.
    """

    def __init__(self, optimizer: Any, every: int | None = 1) -> None:
        if every is not None and (every < 1 or every != int(every)):
            raise HyperparameterError(
                f"measure: every must be an integer of at least 1, or None, got {every}"
            )
        self._every = every
        self._readings: list[Reading] = []
        self._pending: tuple[int, float, Sums, list[torch.Tensor]] | None = None
        self._steps = Steps()
        self._begun: Step | None = None
        self._open: FrameType | None = None
        self._calls = 0
        self._keep_gradients = True  # until a step shows that it leaves them alone
        self._inside = unwrap(optimizer)
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        if every is not None:
            self._attach()

    def __enter__(self) -> "Measure":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off. The readings stay."""
        self._detach()
        self._steps = Steps()

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Read the step made in here, as the ``step``-th; for a measure that reads no others.

        >>> w = torch.nn.Parameter(torch.ones(3))
        >>> sgd = torch.optim.SGD([w], lr=0.5)
        >>> with measure(sgd, every=None) as measured:
        ...     for step in range(1, 101):
        ...         w.grad = torch.ones(3)
        ...         if step % 50 == 0:
        ...             with measured.at(step):
        ...                 sgd.step()
        ...         else:
        ...             sgd.step()
        >>> [reading.step for reading in measured.readings]
        [50, 100]
        """
        told = self._steps.told(self._inside)
        if told is not None:
            self._calls = step
            yield
            self._take(told)
            return
        self._calls = step - 1
        self._attach()
        try:
            yield
        finally:
            self._detach()

    def _attach(self) -> None:
        self._hooks = [
            self._inside.register_step_pre_hook(self._pre),
            self._inside.register_step_post_hook(self._post),
        ]

    def _detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._begun, self._open = [], None, None

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
        self._begun = None
        if self._every is not None and (self._calls - 1) % self._every:
            return None
        with torch.no_grad():
            self._begun = self._steps.begin(optimizer, self._keep_gradients)
            return self._begun.watch(args, kwargs)

    def _post(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if sys._getframe(1) is not self._open:
            return
        self._open = None
        begun, self._begun = self._begun, None
        if begun is not None:
            self._take(begun)

    def _take(self, begun: Step) -> None:
        """Read a step that is over."""
        self._fetch()
        self._keep_gradients = begun.altered() or (self._keep_gradients and bool(self._readings))
        with torch.no_grad(), np.errstate(all="ignore"):
            read = begun.read()
        if read is None:
            return
        rate, sums, owners = read
        if rate == 0 and not any(gg for gg, _, _ in sums.table(())):
            self._calls -= 1
            return
        self._pending = (self._calls, rate, sums, owners)

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


def runs_in(inner: FrameType, outer: FrameType) -> bool:
    frame: FrameType | None = inner
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is outer

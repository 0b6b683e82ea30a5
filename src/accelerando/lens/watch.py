"""One optimizer under the lens: its hooks, and the sums each sampled step leaves behind."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import torch

from accelerando.lens.measure import runs_in
from accelerando.lens.micro import Ended, Micro
from accelerando.lens.sampled import Step
from accelerando.lens.snapshot import Call, Memories
from accelerando.lens.taking import Compared, plain
from accelerando.lens.yielded import Yielded, Yielding


@dataclass
class _Pending:
    """A sampled step whose direction is yet to be judged, or whose sums are still on their way."""

    step: int
    before: Compared | Yielded
    micro: Ended | None
    judged: bool = False


class Watch:
    """Step hooks on one optimizer; hands each sampled step to ``deliver``, one step late, yet to be called for.

    The next step's gradient judges the direction of the sampled one (agreement). On a GPU a step is handed
    over when the next is sampled, so that nothing waits for the device.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        index: int,
        every: int,
        name: Callable[[torch.Tensor, int], str],
        deliver: Callable[[Callable[[], Step]], None],
        start: int = 0,
    ) -> None:
        self.optimizer, self.index, self.every = optimizer, index, every
        self.calls = start
        self._name, self._deliver = name, deliver
        self._memories = Memories()
        self._micro = Micro()
        self._yielding = Yielding()
        self._before: Compared | Yielded | None = None
        self._pending: _Pending | None = None
        self._open: FrameType | None = None
        self._keep_gradients = True  # until a step shows that it leaves them alone
        self._hooks = [
            optimizer.register_step_pre_hook(self._pre),
            optimizer.register_step_post_hook(self._post),
        ]

    def close(self) -> None:
        """Take the hooks off and hand over what is pending."""
        for hook in self._hooks:
            hook.remove()
        self._before = self._open = None
        self.flush()
        self._memories = Memories()

    def micro(self) -> None:
        """A micro-batch has gone backward; nothing is done unless the coming step is to be sampled."""
        if self.calls % self.every == 0:
            groups = self.optimizer.param_groups
            with torch.no_grad(), np.errstate(all="ignore"):
                self._micro.add([p for group in groups for p in group["params"] if p.requires_grad])

    def flush(self) -> None:
        """Hand over the pending step as it is."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.before.release()
            self._deliver(self._later(pending))

    def _pre(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Call | None:
        caller = sys._getframe(1)
        if self._open is not None and runs_in(caller, self._open):
            return None  # a subclass that calls its parent's step: one step, though the hooks run twice
        self._open = caller
        self._before = None
        self.calls += 1
        sampled = not (self.calls - 1) % self.every
        if self._pending is None and not sampled:
            return None
        with torch.no_grad(), np.errstate(all="ignore"):
            if len(args) < 2 and kwargs.get("closure") is None:
                self._judge()
            if not sampled:
                return None
            self._before = self._yielding.begun(optimizer) or Compared(
                optimizer, self._memories, self._keep_gradients
            )
            return self._before.watch(args, kwargs)

    def _post(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if sys._getframe(1) is not self._open:
            return
        self._open = None
        before, self._before = self._before, None
        if before is None and self._pending is None:
            return
        with torch.no_grad(), np.errstate(all="ignore"):  # a gradient may be infinite
            self._judge()
            if before is None:
                return
            self.flush()
            self._take(before)

    def _judge(self) -> None:
        """Hold the fresh gradient against the sampled step's direction, once."""
        pending = self._pending
        if pending is None or pending.judged:
            return
        pending.judged = True
        pending.before.judge()
        pending.before.release()
        if pending.before.here:
            self.flush()

    def _take(self, before: Compared | Yielded) -> None:
        self._keep_gradients = before.altered()
        before.take(self.optimizer)
        if not before.owners or (not _has_rate(before) and not before.pushed()):
            if before.owners:
                self.calls -= 1  # checkpointing code making the optimizer create its state, not a step
            before.release()
            return
        self._pending = _Pending(self.calls, before, self._micro.end())

    def _later(self, pending: _Pending) -> Callable[[], Step]:
        """What makes the step; where other ranks or a device have a part in it, it is made now, as on all ranks."""
        if isinstance(pending.before, Yielded) and not pending.before.sharded:
            return partial(self._step_of, pending)
        made = self._step_of(pending)
        return lambda: made

    def _step_of(self, pending: _Pending) -> Step:
        before, micro = pending.before, pending.micro
        owners = before.owners
        tensors = before.tensors(before.names(self._name))
        if micro is not None:
            small = micro.table()
            tensors.sums[:, -2:] = [small.get(id(p), (0.0, 0.0)) for p in owners]
        precision = min({p.dtype for p in owners}, key=lambda d: (torch.finfo(d).bits, str(d)))
        return Step(
            self.index,
            pending.step,
            type(self.optimizer).__name__,
            tuple(plain(group) for group in before.groups),
            tensors,
            tuple(self._name(p, group) for p, group in before.idle()),
            str(precision).removeprefix("torch."),
            0 if micro is None else micro.count,
        )


def _has_rate(before: Compared | Yielded) -> bool:
    return any(float(group.get("lr") or 0.0) for group in before.groups)

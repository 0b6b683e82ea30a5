"""One optimizer under the lens: its hooks, and the sums each sampled step leaves behind."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch

from accelerando.lens.measure import runs_in
from accelerando.lens.micro import Ended, Micro
from accelerando.lens.sampled import Samples
from accelerando.lens.snapshot import Call, Memories
from accelerando.lens.taking import Compared
from accelerando.lens.yielded import Yielded, Yielding


class Deliver(Protocol):
    """Takes sampled steps, in order."""

    @property
    def order(self) -> int:
        """How many have been taken."""

    def add(self, step: Samples | Yielded) -> None:
        """Take one; what an optimizer yielded is worked out later."""


@dataclass
class _Pending:
    """A sampled step whose direction is yet to be judged, or whose sums are still on their way."""

    step: int
    before: Compared | Yielded
    micro: Ended | None
    judged: bool = False


class Watch:
    """Sees every step of one optimizer; hands each sampled one to ``deliver``, at the latest one sample late.

    The next step's gradient judges the direction of the sampled one (agreement). On a GPU a step is handed
    over when the next is sampled, so that nothing waits for the device.

    Our own optimizers are observed: their steps call `before` and `after`. Others are seen through torch's hooks.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        index: int,
        every: int,
        name: Callable[[torch.Tensor, int], str],
        deliver: Deliver,
        start: int = 0,
    ) -> None:
        self.optimizer, self.index, self.every = optimizer, index, every
        self.calls = start
        self._name, self._deliver = name, deliver
        self._memories = Memories()
        self._micro = Micro()
        self._yielding = Yielding(optimizer, index, name)
        self._before: Compared | Yielded | None = None
        self._pending: _Pending | None = None
        self._open: FrameType | None = None
        self._keep_gradients = True  # until a step shows that it leaves them alone
        observe = getattr(optimizer, "_observe", None)
        self._observes = observe is not None and observe(self)
        self._hooks = (
            ()
            if self._observes
            else (
                optimizer.register_step_pre_hook(self._pre),
                optimizer.register_step_post_hook(self._post),
            )
        )

    def close(self) -> None:
        """See no more steps, and hand over what is pending."""
        if self._observes:
            self.optimizer._forget(self)  # type: ignore[attr-defined]
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
            self._hand_over(pending.before, pending.step, pending.micro)

    def before(self, optimizer: torch.optim.Optimizer) -> None:
        """A step that is observed begins, its gradients made."""
        self._before = None
        self.calls += 1
        if self._pending is not None:
            with torch.no_grad(), np.errstate(all="ignore"):
                self._judge()
        if not (self.calls - 1) % self.every:
            self._before = self._yielding.begun(optimizer) or self._compared(optimizer)

    def after(self, optimizer: torch.optim.Optimizer) -> None:
        """It has been made."""
        before, self._before = self._before, None
        if before is not None:
            self.flush()
            self._take(before)

    def _compared(self, optimizer: torch.optim.Optimizer) -> Compared:
        with torch.no_grad():
            begun = Compared(optimizer, self._memories, self._keep_gradients)
            begun.watch((), {})
        return begun

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
        with torch.no_grad(), np.errstate(all="ignore"):
            self._judge()
        if before is not None:
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
        """Take what a step left behind; one that asks for no fresh gradient is handed over at once."""
        if isinstance(before, Yielded):
            before.take(self.optimizer, self.calls)
        else:
            self._keep_gradients = before.altered()
            with torch.no_grad(), np.errstate(all="ignore"):  # a gradient may be infinite
                before.take(self.optimizer, self.calls)
        if not before.owners or not (before.rated() or before.pushed()):
            if before.owners:
                self.calls -= 1  # checkpointing code making the optimizer create its state, not a step
            before.release()
            return
        micro = self._micro.end() if self._micro.count else None
        if isinstance(before, Yielded) and before.buffers is None:
            self._hand_over(before, self.calls, micro)
        else:
            self._pending = _Pending(self.calls, before, micro)

    def _hand_over(self, before: Compared | Yielded, step: int, micro: Ended | None) -> None:
        """Where other ranks or a device have a part in a step it is made now, as on all ranks."""
        if isinstance(before, Yielded):
            before.end(self._deliver.order, micro)
            self._deliver.add(before)
        else:
            with np.errstate(all="ignore"):
                self._deliver.add(before.samples(self.index, step, self._deliver.order, micro, self._name))

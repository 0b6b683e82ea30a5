"""One optimizer under the lens: its hooks, and the sums each sampled step leaves behind."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import torch

from accelerando.lens.measure import runs_in
from accelerando.lens.micro import Ended, Micro
from accelerando.lens.snapshot import Call, Memories
from accelerando.lens.taking import COLUMNS, WIDTH, Compared, Seen, Taken, plain, quantiles
from accelerando.lens.yielded import Yielded, begun


@dataclass(frozen=True, slots=True)
class Tensor:
    """What was summed over one parameter.

    Attributes:
        name: readable.
        group: its group's index.
        lr: the nominal rate its step found.
        keep: what decoupled decay left of its weights.
        causes: of its stages, in order.
        stages: their squared norms.
        scalars: cause → factor.
        trusts: whether what is left is a trust ratio.
        whole: whether the recipe is all there is to the method.
        sums: by `COLUMNS`, and ``small`` and ``big``, the mean ‖·‖² of micro-batches and that of all.
        quantiles: of lr/(√v̂ + ε), None where there is none.
    """

    name: str
    group: int
    lr: float
    keep: float
    causes: tuple[str, ...]
    stages: tuple[float, ...]
    scalars: Mapping[str, float]
    trusts: bool
    whole: bool
    sums: Mapping[str, float]
    quantiles: tuple[float, ...] | None


@dataclass(frozen=True)
class Step:
    """One sampled step of one optimizer.

    Attributes:
        optimizer: its index under the lens.
        step: how many steps it has made, this one included.
        kind: its class.
        groups: the options of its groups as the step found them, numbers and pairs of numbers only.
        tensors: those that had a gradient.
        idle: the names of those that want one and had none.
        precision: the lowest-precision dtype among them.
        micro: of how many micro-batches the gradients are known to be sums; 0 if that was not told.
    """

    optimizer: int
    step: int
    kind: str
    groups: tuple[Mapping[str, Any], ...]
    tensors: tuple[Tensor, ...]
    idle: tuple[str, ...]
    precision: str
    micro: int = 0


@dataclass
class _Pending:
    """A sampled step whose direction is yet to be judged, or whose sums are still on their way."""

    step: int
    before: Compared | Yielded
    taken: Taken
    micro: Ended | None
    judged: bool = False


class Watch:
    """Step hooks on one optimizer; hands each sampled `Step` to ``deliver``, one step late.

    The next step's gradient judges the direction of the sampled one (agreement). On a GPU a step is handed
    over when the next is sampled, so that nothing waits for the device.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        index: int,
        every: int,
        name: Callable[[torch.Tensor, int], str],
        deliver: Callable[[Step], None],
        start: int = 0,
    ) -> None:
        self.optimizer, self.index, self.every = optimizer, index, every
        self.calls = start
        self._name, self._deliver = name, deliver
        self._memories = Memories()
        self._micro = Micro()
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
            self._deliver(self._step_of(pending))

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
            self._before = begun(optimizer) or Compared(optimizer, self._memories, self._keep_gradients)
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
        pending.before.judge(pending.taken.seen)
        pending.before.release()
        if pending.taken.sums.here:
            self.flush()

    def _take(self, before: Compared | Yielded) -> None:
        self._keep_gradients = before.altered()
        taken = before.take(self.optimizer)
        if not taken.seen or (not _has_rate(before) and not taken.pushed()):
            if taken.seen:
                self.calls -= 1  # checkpointing code making the optimizer create its state, not a step
            before.release()
            return
        self._pending = _Pending(self.calls, before, taken, self._micro.end())

    def _step_of(self, pending: _Pending) -> Step:
        seen, micro = pending.taken.seen, pending.micro
        small = {} if micro is None else micro.table()
        table = pending.taken.sums.table([one.held.p for one in seen])
        groups = pending.before.groups
        tensors = tuple(
            self._tensor(one, [*row[:WIDTH], *small.get(id(one.held.p), (0.0, 0.0))], thinned, groups)
            for one, row, thinned in zip(seen, table, pending.taken.thinned, strict=True)
        )
        precision = min({one.held.p.dtype for one in seen}, key=lambda d: (torch.finfo(d).bits, str(d)))
        return Step(
            self.index,
            pending.step,
            type(self.optimizer).__name__,
            tuple(plain(group) for group in groups),
            tensors,
            tuple(self._name(h.p, h.group) for h in pending.before.held if h.version < 0),
            str(precision).removeprefix("torch."),
            0 if micro is None else micro.count,
        )

    def _tensor(
        self, one: Seen, row: list[float], thinned: list[torch.Tensor], groups: list[dict[str, Any]]
    ) -> Tensor:
        held, way, causes = one.held, one.way, one.causes
        lr = float(groups[held.group].get("lr") or 0.0)
        sums = dict(zip(COLUMNS, row, strict=False), small=row[-2], big=row[-1])
        return Tensor(
            self._name(held.p, held.group), held.group, lr, held.keep, causes,
            tuple(row[len(COLUMNS) : len(COLUMNS) + len(causes)]), way.scalars, way.trusts, way.whole,
            sums, quantiles(thinned, lr),
        )  # fmt: skip


def _has_rate(before: Compared | Yielded) -> bool:
    return any(float(group.get("lr") or 0.0) for group in before.groups)

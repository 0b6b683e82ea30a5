"""Schedulers made of schedulers: one after the other, and all at once."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np
import torch

from accelerando.errors import HyperparameterError
from accelerando.schedules.checks import whole
from accelerando.schedules.metric import MetricShell
from accelerando.schedules.shell import Shell


class Container(Shell):
    """A shell that owns other shells; their factors count only through it."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedulers: Sequence[Shell],
        last_epoch: int = -1,
    ) -> None:
        self._schedulers = _own(type(self).__name__, optimizer, schedulers)
        for child in self._schedulers:
            child.detach()
            child._parent = self
        super().__init__(optimizer, last_epoch)

    def _begin(self, fresh: bool) -> None:
        """The members have settled the rate at factor 1."""

    def step(self, metrics: SupportsFloat | None = None) -> None:
        """Move on one step, if the optimizer made one since the last call.

        Args:
            metrics: for the members that listen to a metric, in the calls in which there is one.
        """
        if metrics is not None:
            for child in self._listening():
                child._hear(metrics)
        if self._may_advance():
            self.advance()
        elif metrics is not None:
            self._write()

    def _listening(self) -> list[MetricShell]:
        return [child for child in self._schedulers if isinstance(child, MetricShell)]

    def _write(self) -> None:
        self._tell_step()
        super()._write()
        for child in self._acting():
            child._after_write()

    def _acting(self) -> list[Shell]:
        """The members whose momentum counts now."""
        return self._schedulers

    def _tell_step(self) -> None:
        for child in self._schedulers:
            child._follow(self.last_epoch)

    def _extra_state(self) -> dict[str, Any]:
        return {"schedulers": [child.state_dict() for child in self._schedulers]}

    def _load_extra_state(self, state: dict[str, Any]) -> None:
        if len(state["schedulers"]) != len(self._schedulers):
            raise HyperparameterError(
                f"{self._name}: the state has {len(state['schedulers'])} schedulers, this one "
                f"{len(self._schedulers)}; build what was saved"
            )
        for child, saved in zip(self._schedulers, state["schedulers"], strict=True):
            child.load_state_dict(saved)

    def _label(self, i: int) -> str:
        return f"{self._name}({', '.join(child._label(i) for child in self._schedulers)})"


class SequentialLR(Container):
    """One scheduler after the other, each from its own step 0 at a milestone: torch's, step by step.

    Differs: members may listen to a metric (give it to ``step``), and resuming is exact in any order of
    building and loading, where torch's can run the rest of training at a tenth of the rate.

    Args:
        optimizer: the one all the members were built on.
        schedulers: of this library.
        milestones: the step at which each scheduler but the first begins, rising.
        last_epoch: as in torch.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedulers: Sequence[Shell],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        sound = [whole("SequentialLR", "milestones", value, least=0) for value in milestones]
        if len(sound) != len(schedulers) - 1 or sound != sorted(set(sound)):
            raise HyperparameterError(
                f"SequentialLR: milestones must be {len(schedulers) - 1} rising steps, one for each "
                f"scheduler but the first, got {list(milestones)}"
            )
        self._milestones = sound
        super().__init__(optimizer, schedulers, last_epoch)

    def _active(self, step: float) -> tuple[Shell, float]:
        k = bisect_right(self._milestones, step)
        return self._schedulers[k], step - (self._milestones[k - 1] if k else 0)

    def _listening(self) -> list[MetricShell]:
        active, _ = self._active(self.last_epoch)
        return [active] if isinstance(active, MetricShell) else []

    def _acting(self) -> list[Shell]:
        return [self._active(self.last_epoch)[0]]

    def _tell_step(self) -> None:
        active, step = self._active(self.last_epoch)
        active._follow(step)

    def _factor_at(self, i: int, step: float) -> float:
        active, inside = self._active(step)
        return active._whole_factor(i, inside)

    def _factors_at(self, i: int, steps: np.ndarray) -> np.ndarray:
        return np.array([self._factor_at(i, int(step)) for step in steps])

    def _length(self, i: int) -> int | None:
        last = self._schedulers[-1]._length(i)
        return None if last is None else last + (self._milestones[-1] if self._milestones else 0)


class ChainedScheduler(Container):
    """Several schedulers at once: the rate is multiplied by the factor of each.

    Equal to torch's where the members are chainable there; where torch's members overwrite each other
    (LambdaLR, CyclicLR, OneCycleLR, warm restarts), this is still the product. `ReduceLROnPlateau` and
    `RaiseOnProgress` may be members: give ``step`` the metric whenever there is one.

    Args:
        schedulers: of this library, on one optimizer.
        optimizer: that optimizer; the first member's by default.
    """

    def __init__(self, schedulers: Sequence[Shell], optimizer: torch.optim.Optimizer | None = None) -> None:
        if not schedulers:
            raise HyperparameterError("ChainedScheduler: schedulers must be a list of at least one, got none")
        super().__init__(optimizer or schedulers[0].optimizer, schedulers)

    def _factor_at(self, i: int, step: float) -> float:
        total = 1.0
        for child in self._schedulers:
            total *= child._whole_factor(i, step)
        return total

    def _factors_at(self, i: int, steps: np.ndarray) -> np.ndarray:
        total = np.ones(len(steps))
        for child in self._schedulers:
            total = total * child._factors_at(i, steps)
            total = total if child._cooldown is None else total * child._cooldown(steps)
        return total

    def _length(self, i: int) -> int | None:
        lengths = [child._length(i) for child in self._schedulers if not isinstance(child, MetricShell)]
        known = [length for length in lengths if length is not None]
        return max(known) if known and len(known) == len(lengths) else None


def _own(owner: str, optimizer: Any, schedulers: Sequence[Any]) -> list[Shell]:
    if not schedulers:
        raise HyperparameterError(f"{owner}: schedulers must be a list of at least one, got none")
    for i, child in enumerate(schedulers):
        if not isinstance(child, Shell):
            raise TypeError(
                f"{owner}: schedulers[{i}] must be one of accelerando.schedules, got {type(child).__name__}; "
                "import it from there, or use torch's container for torch's schedulers"
            )
        if child.optimizer is not optimizer:
            raise HyperparameterError(f"{owner}: schedulers[{i}] belongs to another optimizer")
        if any(child is other for other in schedulers[:i]):
            raise HyperparameterError(f"{owner}: schedulers[{i}] is given twice; build one for each place")
        if child._parent is not None:
            raise HyperparameterError(f"{owner}: schedulers[{i}] is already in a {child._parent._name}")
    return list(schedulers)

"""`Shell`: a real torch scheduler whose rate is a product in which it owns one factor."""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler

from accelerando.errors import HyperparameterError, StateError
from accelerando.schedules.describe import describe
from accelerando.schedules.findings import Description, Finding
from accelerando.schedules.ledger import Ledger, hookable
from accelerando.schedules.preview import ENDLESS, Curve, Preview
from accelerando.schedules.warm import Cooldown, Fall

STATE_VERSION = 1


class Shell(LRScheduler, ABC):
    """What all our schedulers share; `ScheduledLR` is the one to use directly.

    The rate of a group is a product: its ``initial_lr``, the factor of every scheduler of this library on the
    optimizer, and whatever another hand did to ``group["lr"]``. So schedulers combine by being built, a rate
    set by hand is respected, and none undoes another's cut.

    ``step()`` moves on only if the optimizer made a step since the last call: one that GradScaler skipped is
    not counted, and calling it several times for one update (as some hosts do) moves on once. ``step(n)`` and
    `advance` move in any case. Groups may be added at any time, a rate that is a tensor is filled and never
    replaced, and saved state is complete: optimizer and scheduler may be built and loaded in any order.
    """

    PATIENCE = 20
    """Calls of step() without an optimizer step after which that is said, once."""

    def __init__(self, optimizer: torch.optim.Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = _checked(type(self).__name__, optimizer, last_epoch)
        self._ledger = Ledger.of(optimizer)
        self._ledger.observe(optimizer)
        self._key = self._ledger.name_for(type(self).__name__)
        self._parent: Shell | None = None
        self._cooldown: Cooldown | None = None
        self._held = 0
        self.last_epoch = last_epoch + 1
        self._step_count = 1
        self._seen = self._ledger.steps_done()
        if not self._ledger.counts and hookable(optimizer) is None:
            warnings.warn(
                f"{self._name}: {type(optimizer).__name__} has no step hooks, so every step() of the "
                "scheduler counts; build it on the inner optimizer to count only real steps",
                stacklevel=3,
            )
        self._begin(fresh=last_epoch == -1)
        self._write()

    # what a kind of scheduler defines

    def _begin(self, fresh: bool) -> None:
        """Settle the rate at factor 1 before the first rate is written."""
        for i in range(self._groups):
            self._ledger.forgive_zero(i)
            if not fresh:
                self._ledger.start_over(i)

    @abstractmethod
    def _factor_at(self, i: int, step: float) -> float:
        """The factor of group ``i`` at a step."""

    def _factors_at(self, i: int, steps: np.ndarray) -> np.ndarray:
        return np.array([self._factor_at(i, int(step)) for step in steps])

    def _length(self, i: int) -> int | None:
        """The step from which the factor of group ``i`` no longer changes."""
        return None

    def _label(self, i: int) -> str:
        """What group ``i`` follows, in words."""
        return self._name

    def _extra_findings(self) -> list[Finding]:
        return []

    def _extra_state(self) -> dict[str, Any]:
        return {}

    def _load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `_extra_state` gave."""

    # stepping

    def step(self, epoch: Any = None) -> None:
        """Move on one step, if the optimizer made one since the last call; call it after that.

        Args:
            epoch (float): go to this step instead, whole or not, whatever the optimizer did.
        """
        if epoch is not None:
            self._go(epoch)
        elif self._may_advance():
            self.advance()

    def advance(self, steps: int = 1) -> None:
        """Move on by ``steps``, whether or not the optimizer has made a step."""
        self._go(self.last_epoch + steps)

    def _may_advance(self) -> bool:
        done = self._ledger.steps_done()
        if done > self._seen or not self._ledger.counts:
            self._seen, self._held = done, 0
            return True
        self._held += 1
        if self._held == self.PATIENCE:
            warnings.warn(
                f"{self._name}: step() was called {self._held} times in a row without an optimizer "
                "step between, and did not move on; to look ahead use preview(), to move in any case "
                "use advance()",
                stacklevel=4,
            )
        return False

    def _go(self, step: float) -> None:
        if not step >= 0:
            raise HyperparameterError(f"{self._name}: step must be at least 0, got {step!r}")
        self.last_epoch = step if step != int(step) else int(step)  # type: ignore[assignment]
        self._step_count += 1
        self._write()

    def _write(self) -> None:
        self._ledger.observe(self.optimizer)
        if self._parent is None:
            self._ledger.set(self.optimizer, self._key, self._factors())
        else:
            self._parent._write()

    def _factors(self) -> list[float]:
        """The factor of every group now."""
        return [self._whole_factor(i, self.last_epoch) for i in range(self._groups)]

    def _after_write(self) -> None:
        """What else to set once the rates are written."""

    def _follow(self, step: float) -> None:
        self.last_epoch = step  # type: ignore[assignment]

    def _whole_factor(self, i: int, step: float) -> float:
        factor = self._factor_at(i, step)
        return factor if self._cooldown is None else factor * float(self._cooldown(step))

    def _initial_step(self) -> None:
        raise TypeError(
            f"torch's SequentialLR cannot hold {self._name}: it expects its members to overwrite each "
            "other's rates; use accelerando.schedules.SequentialLR, or first >> second"
        )

    def cool_down(self, steps: int, shape: Fall = "1-sqrt", final: float = 0.0) -> None:
        """Begin now to bring the rate down, over ``steps`` steps, to ``final`` times the schedule's."""
        self._cooldown = Cooldown(steps, int(self.last_epoch), shape, final)

    def detach(self) -> None:
        """Take this scheduler's factor out of the rate, for good; the next one starts without it."""
        if self._key in self._ledger.rows:
            self._ledger.drop(self.optimizer, self._key)

    # looking

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def _groups(self) -> int:
        return len(self.optimizer.param_groups)

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]
        """The rate of each group at factor 1."""
        return [float(group.get("initial_lr", group["lr"])) for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[Any]:
        """The rate of each group as it is now; tensors are copied."""
        lrs = [group["lr"] for group in self.optimizer.param_groups]
        return [lr.clone() if isinstance(lr, torch.Tensor) else lr for lr in lrs]

    get_lr = get_last_lr

    def lr_at(self, step: float) -> list[float]:
        """The rate of each group at any step, if every other hand leaves it as it is now."""
        self._ledger.observe(self.optimizer)
        return [self._others(i) * self._whole_factor(i, step) for i in range(self._groups)]

    def _others(self, i: int) -> float:
        ledger = self._ledger
        key = self._root()._key
        total = ledger.references[i] * ledger.outside[i]
        for other, row in ledger.rows.items():
            total *= row[i] if other != key and i < len(row) else 1.0
        return total

    def _root(self) -> "Shell":
        return self if self._parent is None else self._parent._root()

    def preview(self, steps: int | None = None) -> Preview:
        """The rate of every group from step 0, as a table and a figure with every rise marked.

        Args:
            steps: how many; by default the schedule's length and a tenth more, 1000 where it never ends.
        """
        self._ledger.observe(self.optimizer)
        lengths = [self._length(i) for i in range(self._groups)]
        if steps is None:
            known = [length for length in lengths if length is not None]
            steps = max(known) + max(1, max(known) // 10) if len(known) == len(lengths) else ENDLESS
        grid = np.arange(steps + 1)
        curves: list[Curve] = []
        for i in range(self._groups):
            factors = self._factors_at(i, grid)
            factors = factors if self._cooldown is None else factors * self._cooldown(grid)
            label = self._label(i) if self._groups == 1 else f"group {i}: {self._label(i)}"
            curve = Curve(self._others(i) * factors, lengths[i], label)
            if not any(np.array_equal(curve.rates, shown.rates) for shown in curves):
                curves.append(curve)
        notes = [finding.message for finding in self._extra_findings() if finding.kind == "momentum"]
        return Preview(tuple(curves), "; ".join(notes))

    def describe(self, steps: int | None = None) -> Description:
        """What this scheduler will do to this optimizer in a run of ``steps`` steps: see `Finding`."""
        return Description(self._name, tuple(describe(self, steps) + self._extra_findings()))

    # saving

    def state_dict(self) -> dict[str, Any]:
        """The whole state in plain numbers, lists and texts: loads with ``weights_only=True``."""
        return {
            "version": STATE_VERSION,
            "kind": self._name,
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "pending": self._ledger.steps_done() > self._seen,
            "cooldown": None if self._cooldown is None else self._cooldown.to_dict(),
            "factors": list(self._ledger.rows.get(self._key, [])),
            "ledger": self._ledger.snapshot(self.optimizer),
            **self._extra_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, rates included; the dictionary is not changed.

        A state of torch's scheduler of the same name is taken over too: its step and its last rates.

        Raises:
            StateError: the state of another kind of scheduler, or of another version.
        """
        state = copy.deepcopy(state_dict)
        if "version" not in state and {"last_epoch", "_last_lr"} <= set(state):
            self._load_torch(state)
            return
        self._check_state(state)
        self._restore(state)
        if self._parent is None:
            self._ledger.rows[self._key] = state["factors"]
            self._ledger.restore(self.optimizer, state["ledger"])

    def _check_state(self, state: dict[str, Any]) -> None:
        if state.get("version") != STATE_VERSION or state.get("kind") != self._name:
            raise StateError(
                f"{self._name}: the state must be a {self._name}'s of version {STATE_VERSION}, got "
                f"{state.get('kind')!r} of version {state.get('version')!r}; "
                "build the scheduler that was saved"
            )

    def _restore(self, state: dict[str, Any]) -> None:
        from accelerando.schedules.base import from_dict

        self.last_epoch = state["last_epoch"]
        self._step_count = state["_step_count"]
        self._seen = self._ledger.steps_done() - int(state["pending"])
        cooldown = state["cooldown"]
        self._cooldown = None if cooldown is None else from_dict(cooldown)  # type: ignore[assignment]
        self._load_extra_state(state)

    def _load_torch(self, state: dict[str, Any]) -> None:
        self._ledger.observe(self.optimizer)
        for i, lr in enumerate(state.get("base_lrs", [])[: self._groups]):
            if self._relative:
                self._ledger.rebase(i, self.optimizer.param_groups[i], float(lr))
        self.last_epoch = state["last_epoch"]
        self._write()
        last: Sequence[Any] = state["_last_lr"]
        for lr, group in zip(last, self.optimizer.param_groups, strict=False):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(float(lr))
            else:
                group["lr"] = float(lr)
        self._ledger.observe(self.optimizer)

    _relative = True
    """Whether the rate at factor 1 is the optimizer's own; False where the scheduler names its rates."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ledger.attach(self.optimizer)
        self._ledger = Ledger.of(self.optimizer) if self._ledger.counts else self._ledger


def _checked(owner: str, optimizer: Any, last_epoch: Any) -> Any:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"{owner}: optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if not optimizer.param_groups:
        raise HyperparameterError(f"{owner}: the optimizer has no parameter groups; add one first")
    if isinstance(last_epoch, bool) or not isinstance(last_epoch, int) or last_epoch < -1:
        raise HyperparameterError(
            f"{owner}: last_epoch must be a whole number of at least -1, got {last_epoch!r}"
        )
    for i, group in enumerate(optimizer.param_groups):
        if "lr" not in group:
            raise HyperparameterError(
                f"{owner}: group {i} of {type(optimizer).__name__} has no lr to schedule"
            )
        if last_epoch >= 0 and "initial_lr" not in group:
            raise KeyError(
                f"{owner}: last_epoch={last_epoch} resumes a run, but group {i} has no 'initial_lr'; "
                "load the optimizer's state first, or leave last_epoch at -1"
            )
    return optimizer

"""CyclicLR and OneCycleLR: torch's schedulers that name their rates, and may cycle momentum."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch

from accelerando.errors import HyperparameterError
from accelerando.schedules import momentum
from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import real, whole
from accelerando.schedules.cyclic import Anneal, Axis, Cyclic, Mode, OneCycle, anneal_through
from accelerando.schedules.findings import Finding
from accelerando.schedules.ops import Scalar
from accelerando.schedules.scheduled import PureShell
from accelerando.schedules.shell import Shell

Rates = float | Sequence[float]


class RateShell(PureShell):
    """A shell that names its rates outright: the optimizer's own ``lr`` does not matter, as in torch.

    On an optimizer that another scheduler of this library is on, the rates still multiply: a warm-up beside
    it warms these rates up.
    """

    _relative = False

    @abstractmethod
    def _peak(self, i: int) -> float:
        """The rate of group ``i`` where the schedule's factor is 1."""

    @abstractmethod
    def _first_rate(self, i: int) -> float:
        """What torch makes the group's ``initial_lr``."""

    def _momentum_at(self, i: int, step: float) -> float | None:
        """The momentum of group ``i`` at a step; None leaves it alone."""
        return None

    def _begin(self, fresh: bool) -> None:
        alone = not self._ledger.rows
        for i, group in enumerate(self.optimizer.param_groups):
            if alone or self._ledger.references[i] == 0.0:
                self._ledger.rebase(i, group, self._first_rate(i) or self._peak(i))

    def _factors(self) -> list[float]:
        return Shell._factors(self)  # rates differ by group where schedules do not

    def _scale(self, i: int) -> float:
        group = self.optimizer.param_groups[i]
        return self._peak(i) * float(group.get("lr_scale", 1.0)) / self._ledger.references[i]

    def _factor_at(self, i: int, step: float) -> float:
        return super()._factor_at(i, step) * self._scale(i)

    def _factors_at(self, i: int, steps: np.ndarray) -> np.ndarray:
        return np.asarray(super()._factors_at(i, steps) * self._scale(i))

    def _write(self) -> None:
        known = len(self._ledger.references)
        self._ledger.observe(self.optimizer)
        for i in range(known, self._groups):
            self._ledger.rebase(i, self.optimizer.param_groups[i], self._first_rate(i) or self._peak(i))
        super()._write()
        if self._parent is None:
            self._after_write()

    def _after_write(self) -> None:
        for i, group in enumerate(self.optimizer.param_groups):
            value = self._momentum_at(i, self.last_epoch)
            if value is not None:
                momentum.write(group, value)

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self._after_write()

    def _demand_momentum(self) -> None:
        for i, group in enumerate(self.optimizer.param_groups):
            if momentum.key_of(group) is None:
                raise HyperparameterError(
                    f"{self._name}: cycle_momentum=True needs an optimizer with momentum or betas, got "
                    f"{type(self.optimizer).__name__} (group {i}); pass cycle_momentum=False"
                )


class CyclicLR(RateShell):
    """A triangle wave between two rates, with torch's modes and signature: torch's rates, step by step.

    Differs: momentum and beta1 are left alone unless ``cycle_momentum=True`` is written out (torch's default
    overwrites AdamW's beta1, also at construction); left at its default on an optimizer that torch would have
    changed, it says so. ``load_state_dict`` does not change the dictionary it is given. A cut by another hand
    survives, and a group added later cycles as the last one does instead of breaking ``step()``.

    Args:
        optimizer: of any library; its own ``lr`` does not matter.
        base_lr: the lowest rate, at least 0; one, or one for each group.
        max_lr: the highest rate, at least ``base_lr``.
        step_size_up: steps of the rising half.
        step_size_down: steps of the falling half; as many by default.
        mode: ``triangular``, ``triangular2`` or ``exp_range``; unused where ``scale_fn`` is given.
        gamma: of ``exp_range``.
        scale_fn: the height's factor as a function of the cycle (from 1) or the step; not saved.
        scale_mode: ``cycle`` or ``iterations``.
        cycle_momentum: whether momentum runs against the rate; None does not touch it.
        base_momentum: its lowest value, at the highest rate.
        max_momentum: its highest value, at the lowest rate.
        last_epoch: as in torch.
        axis: ``linear``, or ``log`` to move by equal ratios.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        base_lr: Rates,
        max_lr: Rates,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Mode = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool | None = None,
        base_momentum: Rates = 0.8,
        max_momentum: Rates = 0.9,
        last_epoch: int = -1,
        *,
        axis: Axis = "linear",
    ) -> None:
        low = listed("CyclicLR", "base_lr", optimizer, base_lr)
        high = listed("CyclicLR", "max_lr", optimizer, max_lr)
        for i, (base, peak) in enumerate(zip(low, high, strict=True)):
            if peak < base or peak == 0.0:
                raise HyperparameterError(
                    f"CyclicLR: max_lr must be above 0 and at least base_lr={base!r}, got {peak!r} "
                    f"(group {i}); give the rates in the order base_lr, max_lr"
                )
        self._low, self._high = low, high
        self._wave = Cyclic(step_size_up, step_size_down, mode=mode, gamma=gamma, axis=axis, low=1.0)
        self._scale_fn, self._by_cycle = scale_fn, scale_mode == "cycle"
        self.cycle_momentum = bool(cycle_momentum)
        self._base_momentum = listed("CyclicLR", "base_momentum", optimizer, base_momentum)
        self._max_momentum = listed("CyclicLR", "max_momentum", optimizer, max_momentum)
        self.optimizer = optimizer
        if cycle_momentum:
            self._demand_momentum()
        elif cycle_momentum is None:
            self._mention_momentum()
        super().__init__(optimizer, last_epoch)

    def _mention_momentum(self) -> None:
        held = momentum.read(self.optimizer.param_groups[0])
        if held is not None:
            warnings.warn(
                f"CyclicLR leaves momentum (beta1) at {held:g}, where torch's would cycle it between "
                f"{self._base_momentum[0]:g} and {self._max_momentum[0]:g}; pass cycle_momentum=False to "
                "agree, or True to cycle it",
                stacklevel=3,
            )

    def _peak(self, i: int) -> float:
        return self._high[min(i, len(self._high) - 1)]

    def _first_rate(self, i: int) -> float:
        return self._low[min(i, len(self._low) - 1)]

    def _make(self, i: int) -> Schedule:
        wave = self._wave
        low = self._first_rate(i) / self._peak(i)
        return Cyclic(wave.up, wave.down, low, wave.mode, wave.gamma, wave.axis)

    def _factor_at(self, i: int, step: float) -> float:
        if self._scale_fn is None:
            return super()._factor_at(i, step)
        shape = self._schedule(i)
        low = shape.low if isinstance(shape, Cyclic) else 0.0
        return (low + (1.0 - low) * self._height(step)) * self._scale(i)

    def _factors_at(self, i: int, steps: np.ndarray) -> np.ndarray:
        if self._scale_fn is None:
            return super()._factors_at(i, steps)
        return np.array([self._factor_at(i, int(step)) for step in steps])

    def _height(self, step: float) -> float:
        wave, cycle = self._wave, step // self._wave.period + 1
        height = float(wave.wave(float(step), Scalar()))
        if self._scale_fn is not None:
            return float(height * self._scale_fn(cycle if self._by_cycle else step))
        if wave.mode == "triangular2":
            return float(height * 0.5 ** (cycle - 1))
        return height * wave.gamma**step if wave.mode == "exp_range" else height

    def _momentum_at(self, i: int, step: float) -> float | None:
        if not self.cycle_momentum:
            return None
        top = self._max_momentum[min(i, len(self._max_momentum) - 1)]
        foot = self._base_momentum[min(i, len(self._base_momentum) - 1)]
        return top - (top - foot) * self._height(step)

    def _extra_findings(self) -> list[Finding]:
        if not self.cycle_momentum:
            return []
        ends = f"from {self._max_momentum[0]:g} down to {self._base_momentum[0]:g}"
        return [Finding("momentum", f"momentum (beta1) runs {ends} and back in every cycle")]


class OneCycleLR(RateShell):
    """One rise to ``max_lr`` and a long fall: torch's rates and momentum, step by step.

    Differs: past ``total_steps`` it holds the last rate and says so once, where torch's raises an error in
    the run's last moment; and a cut by another hand survives. Momentum (beta1) is cycled by default, as in
    torch, because it is part of the method.

    Raises:
        HyperparameterError: neither ``total_steps`` nor ``epochs`` and ``steps_per_epoch``; a value out of
            range; an optimizer without momentum or betas while ``cycle_momentum`` is on.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_lr: Rates,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Anneal = "cos",
        cycle_momentum: bool = True,
        base_momentum: Rates = 0.85,
        max_momentum: Rates = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise HyperparameterError(
                    "OneCycleLR: total_steps is missing; give it, or both epochs and steps_per_epoch, got "
                    f"epochs={epochs!r}, steps_per_epoch={steps_per_epoch!r}"
                )
            total_steps = whole("OneCycleLR", "epochs", epochs)
            total_steps *= whole("OneCycleLR", "steps_per_epoch", steps_per_epoch)
        self.total_steps = whole("OneCycleLR", "total_steps", total_steps)
        start = real("OneCycleLR", "div_factor", div_factor, low=0.0, above=True)
        end = start * real("OneCycleLR", "final_div_factor", final_div_factor, low=0.0, above=True)
        self._shape = OneCycle(self.total_steps, pct_start, anneal_strategy, 1 / start, 1 / end, three_phase)
        self._high = listed("OneCycleLR", "max_lr", optimizer, max_lr)
        self.cycle_momentum = bool(cycle_momentum)
        self._base_momentum = listed("OneCycleLR", "base_momentum", optimizer, base_momentum)
        self._max_momentum = listed("OneCycleLR", "max_momentum", optimizer, max_momentum)
        self._past = False
        self.optimizer = optimizer
        if self.cycle_momentum:
            self._demand_momentum()
        super().__init__(optimizer, last_epoch)

    def _go(self, step: float) -> None:
        super()._go(step)
        if self.last_epoch > self.total_steps and not self._past:
            self._past = True
            warnings.warn(
                f"OneCycleLR: step {self.last_epoch} is past total_steps={self.total_steps}; the rate holds "
                f"{self.get_last_lr()[0]:.4g} from here on",
                stacklevel=4,
            )

    def _peak(self, i: int) -> float:
        return self._high[min(i, len(self._high) - 1)]

    def _first_rate(self, i: int) -> float:
        return self._peak(i) * self._shape.start

    def _make(self, i: int) -> Schedule:
        return self._shape

    def _momentum_at(self, i: int, step: float) -> float | None:
        if not self.cycle_momentum:
            return None
        top = self._max_momentum[min(i, len(self._max_momentum) - 1)]
        foot = self._base_momentum[min(i, len(self._base_momentum) - 1)]
        corners = self._shape.corners()
        values = (foot, top, top)[: len(corners)]
        path = tuple((end, value) for (end, _), value in zip(corners, values, strict=True))
        step = min(float(step), self.total_steps - 1.0)
        return float(anneal_through(step, Scalar(), top, path, self._shape.anneal))

    def _extra_findings(self) -> list[Finding]:
        if not self.cycle_momentum:
            return []
        text = f"momentum (beta1) goes from {self._max_momentum[0]:g} to {self._base_momentum[0]:g} and back"
        return [Finding("momentum", text)]


def listed(owner: str, name: str, optimizer: torch.optim.Optimizer, value: Any) -> list[float]:
    """One value for each group, from one for all or a list."""
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * groups
    if len(values) != groups:
        raise HyperparameterError(
            f"{owner}: {name} must be one number or one for each of the {groups} groups, got {len(values)}"
        )
    return [
        real(owner, name, float(item) if isinstance(item, torch.Tensor) else item, low=0.0) for item in values
    ]

"""torch's schedulers that follow the step alone, with torch's names and signatures."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from accelerando.errors import HyperparameterError
from accelerando.schedules.base import Schedule
from accelerando.schedules.checks import real, whole
from accelerando.schedules.combine import Sequence as Then
from accelerando.schedules.cosine import Cosine, CosineRestarts
from accelerando.schedules.scheduled import PureShell
from accelerando.schedules.shapes import Constant, Exponential, Linear, MultiStep, Polynomial, Step
from accelerando.schedules.shell import Shell
from accelerando.schedules.warm import Fall, WarmupStableDecay


class ConstantLR(PureShell):
    """``factor`` times the rate for ``total_iters`` steps, then the rate itself: torch's, step by step."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.factor = real("ConstantLR", "factor", factor, low=0.0, high=1.0)
        self.total_iters = whole("ConstantLR", "total_iters", total_iters, least=0)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        if self.total_iters == 0:
            return Constant(1.0)
        return Then((Constant(self.factor, self.total_iters), Constant(1.0, 1)))


class LinearLR(PureShell):
    """A straight line in ``total_iters`` steps between two factors: torch's, step by step.

    Differs: ``start_factor`` may be 0.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = real("LinearLR", "start_factor", start_factor, low=0.0, high=1.0)
        self.end_factor = real("LinearLR", "end_factor", end_factor, low=0.0, high=1.0)
        self.total_iters = whole("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return Linear(self.total_iters, self.start_factor, self.end_factor)


class PolynomialLR(PureShell):
    """(1 − t/total_iters)^power, then 0: torch's, step by step."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = whole("PolynomialLR", "total_iters", total_iters)
        self.power = real("PolynomialLR", "power", power, low=0.0, above=True)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return Polynomial(self.total_iters, self.power)


class ExponentialLR(PureShell):
    """gamma^t: torch's, step by step."""

    def __init__(self, optimizer: torch.optim.Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = real("ExponentialLR", "gamma", gamma, low=0.0, above=True)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return Exponential(self.gamma)


class StepLR(PureShell):
    """gamma^⌊t/step_size⌋: torch's, step by step."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        step_size: int,
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.step_size = whole("StepLR", "step_size", step_size)
        self.gamma = real("StepLR", "gamma", gamma, low=0.0, above=True)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return Step(self.step_size, self.gamma)


class MultiStepLR(PureShell):
    """``gamma`` at each of the milestones: torch's, step by step."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = MultiStep(tuple(milestones), gamma).milestones
        self.gamma = float(gamma)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return MultiStep(self.milestones, self.gamma)


class CosineAnnealingLR(PureShell):
    """Half a cosine from the rate to ``eta_min`` in ``T_max`` steps: torch's until ``T_max``.

    Differs: after ``T_max`` it holds ``eta_min``, where torch's climbs back to the full rate at 2·T_max; and
    a rate that another hand has cut stays cut, where torch's forgets the cut at ``T_max``. For a schedule
    that climbs again on purpose use `CosineAnnealingWarmRestarts` or `CyclicLR`.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = real("CosineAnnealingLR", "eta_min", eta_min, low=0.0)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return Cosine(self.T_max, floor(self, i, self.eta_min))


class CosineAnnealingWarmRestarts(PureShell):
    """Cosine decay that restarts after T_0, T_0·T_mult, … steps: torch's, step by step, fractions included.

    Differs: a cut by another hand survives the restart because rates multiply (torch keeps ``initial_lr``).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0 = whole("CosineAnnealingWarmRestarts", "T_0", T_0)
        self.T_mult = whole("CosineAnnealingWarmRestarts", "T_mult", T_mult)
        self.eta_min = real("CosineAnnealingWarmRestarts", "eta_min", eta_min, low=0.0)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return CosineRestarts(self.T_0, self.T_mult, floor(self, i, self.eta_min))


class WSD(PureShell):
    """Warm-up, stable, decay: `accelerando.schedules.wsd` on an optimizer.

    Args:
        optimizer: of any library.
        warmup_steps: of linear warm-up, at least 0.
        stable_steps: at the full rate; None stays there until `cool_down` is called, at any time.
        decay_steps: of the fall.
        shape: of the fall: ``1-sqrt``, ``linear`` or ``cosine``.
        final: the factor it ends with, in [0, 1].
        last_epoch: as in torch.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup_steps: int,
        stable_steps: int | None = None,
        decay_steps: int | None = None,
        shape: Fall = "1-sqrt",
        final: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self._wsd = WarmupStableDecay(warmup_steps, stable_steps, decay_steps, shape, final)
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return self._wsd


class LambdaLR(Shell):
    """The rate times a function of the step: torch's, step by step.

    Differs: a cut by another hand survives; a group added later follows the last function instead of breaking
    ``step()``. Functions are not saved; a schedule given as one is a function too.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        many = isinstance(lr_lambda, (list, tuple))
        functions: Any = lr_lambda if many else [lr_lambda]
        self.lr_lambdas: list[Callable[[Any], float]] = list(functions)
        groups = len(optimizer.param_groups)
        if many and len(self.lr_lambdas) != groups:
            raise HyperparameterError(
                f"LambdaLR: lr_lambda must have one function for each of the {groups} groups, got "
                f"{len(self.lr_lambdas)}; give one function to use it for all"
            )
        super().__init__(optimizer, last_epoch)

    def _factor_at(self, i: int, step: float) -> float:
        return float(self.lr_lambdas[min(i, len(self.lr_lambdas) - 1)](step))


def floor(shell: Shell, i: int, eta_min: float) -> float:
    """An absolute lowest rate as a factor of group ``i``; a group at rate 0 stays there."""
    reference = shell._ledger.references[i]
    return eta_min / reference if reference else 0.0

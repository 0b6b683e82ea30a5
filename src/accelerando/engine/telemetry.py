"""What a step did, summed in the pass that makes it: no copy of the weights, nothing read twice."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from accelerando.engine.lots import Table

TOLD = ("gg", "uu", "mm", "nonfinite", "gd", "dd", "pp")
"""Sums over a tensor: of the gradient g as given, the direction u, the first moment m as the step left it, elements
of g that are not finite, the displacement d without decay's share, and the weights p that the step found."""

FIRST_MOMENT = "exp_avg"


class Observer(Protocol):
    """Looks at every step of one optimizer; a step costs it two calls, where torch's hooks cost a profiler record."""

    def before(self, optimizer: Any) -> None:
        """A step begins; its closure, if there is one, has been called, and gradients are those it will use."""

    def after(self, optimizer: Any) -> None:
        """It has been made; not called where it raised an error."""


class Telemetry:
    """The sums of one coming step.

    Args:
        keeps: for each group of the optimizer, what decoupled decay leaves of a weight in this step.

    Attributes:
        plan: the same object as long as parameters, states and buffers are; None until the step has been made.
        ages: how many steps each parameter that has a state has made, in the order of the states.
        memory: what is remembered per tensor, by name, in the same order.
    """

    here = True

    def __init__(self, groups: Sequence[Mapping[str, object]], keeps: Sequence[float]) -> None:
        self.keeps = {id(group): keep for group, keep in zip(groups, keeps, strict=True)}
        self.plan: object = None
        self.ages: Sequence[float] = ()
        self.memory: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._told: list[tuple[Sequence[torch.Tensor], Table, bool]] = []

    def tell(self, params: Sequence[torch.Tensor], sums: Table, has_moment: bool) -> None:
        """Take a lot's sums: parameters by `TOLD`, not written to again."""
        self._told.append((params, sums, has_moment))

    def end(self, plan: Any, ages: Sequence[float]) -> None:
        """The step has been made, by this plan; parameters are now of these ages."""
        self.plan, self.ages = plan, ages
        if plan.pool.memory:
            self.memory = {name: kept.copy() for name, kept in plan.pool.memory.items()}

    @property
    def lots(self) -> Sequence[tuple[Sequence[torch.Tensor], Table, bool]]:
        """Lot by lot: its parameters, their sums by `TOLD`, and whether they have a first moment.

        The lists of parameters are the engine's own: the same objects as long as the same parameters are stepped.
        """
        return self._told

    def table(self) -> list[tuple[torch.Tensor, dict[str, float]]]:
        """Each parameter of the step with its sums, lot by lot; without ``mm`` where there is no first moment."""
        return [
            (p, {n: v for n, v in zip(TOLD, row, strict=True) if n != "mm" or has_moment})
            for params, sums, has_moment in self._told
            for p, row in zip(params, sums.tolist(), strict=True)
        ]

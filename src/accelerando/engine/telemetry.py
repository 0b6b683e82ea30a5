"""What a step did, summed in the pass that makes it: no copy of the weights, nothing read twice."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from accelerando.engine.lots import Table

TOLD = ("gg", "uu", "mm", "nonfinite", "gd", "dd", "pp", "pd")
"""Sums over a tensor: of the gradient g as given, the direction u, the first moment m as the step left it, elements
of g that are not finite, the displacement d without decay's share, and the weights p after the step."""

FIRST_MOMENT = "exp_avg"


class Telemetry:
    """The sums of one coming step.

    Args:
        keeps: for each group of the optimizer, what decoupled decay leaves of a weight in this step.
    """

    here = True

    def __init__(self, groups: Sequence[Mapping[str, object]], keeps: Sequence[float]) -> None:
        self.keeps = {id(group): float(keep) for group, keep in zip(groups, keeps, strict=True)}
        self._told: list[tuple[Sequence[torch.Tensor], Table, bool]] = []

    def tell(self, params: Sequence[torch.Tensor], sums: Table, has_moment: bool) -> None:
        """Take a lot's sums: parameters by `TOLD`."""
        self._told.append((params, np.array(sums), has_moment))

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

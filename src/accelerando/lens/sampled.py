"""What was measured of one sampled step, column by column, before anybody reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STAGES = 4
"""The most vectors there are on the way to a step."""

COLUMNS = ("gg", "gd", "dd", "pp", "along", "decay", "nonfinite", "size", "agree", "judged")
"""The sums of a tensor, then those of its stages: all additive over shards, one reduction for a step."""

AT = {name: i for i, name in enumerate((*COLUMNS, "small", "big"))}
"""Where a sum is in `Tensors.sums`; ``small`` and ``big`` are the mean ‖·‖² of micro-batches and that of all."""

WIDTH = len(COLUMNS) + STAGES
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Tensors:
    """What was summed over each of some parameters, a row each.

    Attributes:
        names: readable.
        groups: their groups' indices, rising.
        lr: the nominal rates their steps found.
        keep: what decoupled decay left of their weights.
        causes: of their stages, in order.
        stages: the squared norms of these; not a number past a tensor's last.
        scalars: cause → factor.
        trusts: whether what is left is a trust ratio.
        whole: whether the recipe is all there is to the method.
        sums: by `AT`.
        quantiles: of lr/(√v̂ + ε); not a number where there is none.
    """

    names: Sequence[str]
    groups: Sequence[int]
    lr: Array
    keep: Array
    causes: Sequence[tuple[str, ...]]
    stages: Array
    scalars: Sequence[Mapping[str, float]]
    trusts: Bools
    whole: Bools
    sums: Array
    quantiles: Array

    def __len__(self) -> int:
        return len(self.names)

    def sum(self, name: str) -> Array:
        """One of the sums, by tensor."""
        return self.sums[:, AT[name]]


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
    tensors: Tensors
    idle: tuple[str, ...]
    precision: str
    micro: int = 0


def joined(parts: Sequence[Tensors]) -> Tensors:
    """The tensors of several steps, one after another."""
    if len(parts) == 1:
        return parts[0]

    def chained(name: str) -> Any:
        return [x for part in parts for x in getattr(part, name)]

    def stacked(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    return Tensors(
        names=chained("names"),
        groups=chained("groups"),
        lr=stacked("lr"),
        keep=stacked("keep"),
        causes=chained("causes"),
        stages=stacked("stages"),
        scalars=chained("scalars"),
        trusts=stacked("trusts"),
        whole=stacked("whole"),
        sums=stacked("sums"),
        quantiles=stacked("quantiles"),
    )

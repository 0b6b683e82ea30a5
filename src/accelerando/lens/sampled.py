"""What was measured of sampled steps, column by column, before anybody reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

STAGES = 4
"""The most vectors there are on the way to a step."""

COLUMNS = ("gg", "gd", "dd", "pp", "along", "decay", "nonfinite", "size", "agree", "judged")
"""The sums of a tensor, then those of its stages: all additive over shards, one reduction for a step."""

AT = {name: i for i, name in enumerate((*COLUMNS, "small", "big"))}
"""Where a sum is in `Samples.sums`; ``small`` and ``big`` are the mean ‖·‖² of micro-batches and that of all."""

WIDTH = len(COLUMNS) + STAGES
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Frame:
    """What several sampled steps of an optimizer have in common.

    Attributes:
        optimizer: its index under the lens.
        kind: its class.
        names: readable, of the tensors that had a gradient.
        groups: these tensors' groups, rising.
        sizes: how many numbers these tensors have.
        idle: the names of those that want a gradient and had none.
        precision: the lowest-precision dtype among them.
        causes: of each tensor's stages, in order.
        factors: the causes of the scalars, in order.
        told: whether a tensor's trust ratio is among its scalars.
        trusts: whether what is left of a tensor's step is a trust ratio.
        whole: whether the recipe is all there is to the method.
    """

    optimizer: int
    kind: str
    names: tuple[str, ...]
    groups: tuple[int, ...]
    sizes: tuple[int, ...]
    idle: tuple[str, ...]
    precision: str
    causes: tuple[tuple[str, ...], ...]
    factors: tuple[str, ...]
    told: tuple[bool, ...]
    trusts: tuple[bool, ...]
    whole: tuple[bool, ...]

    @cached_property
    def begins(self) -> tuple[int, ...]:
        """Each group's first tensor."""
        return tuple(i for i, g in enumerate(self.groups) if i == 0 or g != self.groups[i - 1])

    @cached_property
    def present(self) -> tuple[int, ...]:
        """The groups that have a tensor here, in order."""
        return tuple(self.groups[i] for i in self.begins)


@dataclass(frozen=True)
class Samples:
    """Some sampled steps with one frame: by step, then by tensor.

    Attributes:
        frame: what they have in common.
        orders: their places among all that the lens has sampled.
        steps: how many steps the optimizer has made, the sampled one included.
        options: those of its groups as each step found them, by `CHECKED`.
        micro: of how many micro-batches the gradients are known to be sums; not a number if that was not told.
        lr: the nominal rates.
        keep: what decoupled decay left of the weights.
        stages: the squared norms of the stages; not a number past a tensor's last.
        scalars: by `Frame.factors`.
        sums: by `AT`.
        quantiles: of lr/(√v̂ + ε); not a number where there is none.
    """

    frame: Frame
    orders: Ints
    steps: Ints
    options: Sequence[tuple[Mapping[str, Any], ...]]
    micro: Array
    lr: Array
    keep: Array
    stages: Array
    scalars: Array
    sums: Array
    quantiles: Array

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def index(self) -> int:
        """Whose steps these are."""
        return self.frame.optimizer

    @property
    def cells(self) -> int:
        """How many numbers these are, about."""
        return self.sums.size

    def sum(self, name: str) -> Array:
        """One of the sums, by step and tensor."""
        return self.sums[..., AT[name]]

    def take(self, which: Ints) -> "Samples":
        """Some of them."""
        arrays: dict[str, Any] = {name: getattr(self, name)[which] for name in _ARRAYS}
        return replace(self, options=[self.options[k] for k in which] if self.options else (), **arrays)

    def without_options(self) -> "Samples":
        """As they are kept: options are of use only while steps are gone through."""
        return replace(self, options=())


_ARRAYS = tuple(f.name for f in fields(Samples) if f.name not in ("frame", "options"))


def joined(parts: Sequence[Samples]) -> list[Samples]:
    """Samples of one optimizer, those next to each other put together that have the same frame."""
    found = []
    for _, alike in groupby(parts, key=lambda part: part.frame):
        several = list(alike)
        if len(several) == 1:
            found += several
            continue
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in several]) for name in _ARRAYS
        }
        options = [o for part in several for o in part.options]
        found.append(replace(several[0], options=options, **arrays))
    return found


CHECKED = ("lr", "betas", "momentum", "d", "d0", "agreement")
"""The options that are looked at while steps are gone through."""


def plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among the options of a group that are looked at."""
    kept: dict[str, Any] = {}
    for key in CHECKED:
        value = group.get(key)
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            kept[key] = float(value)
        elif isinstance(value, bool | int | float) or (
            isinstance(value, tuple | list) and all(isinstance(x, int | float) for x in value)
        ):
            kept[key] = value
    return kept

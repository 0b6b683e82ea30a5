"""Parameters that are stepped together: one rule, one backend."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.stores import REMAINDER, Policy, policy_of

Table = npt.NDArray[np.float64]


@dataclass(eq=False)
class Item:
    """A parameter with a gradient, and what the engine knows of it."""

    group: dict[str, Any]
    rule: Rule
    p: torch.Tensor
    g: torch.Tensor
    state: dict[str, Any]
    index: int
    """Its place among the optimizer's parameters that have a state."""
    place: str
    position: int = 0
    """Its place among all parameters of the optimizer, with or without gradients."""
    whole: bool = True
    """Whether this rank has all elements that its sums run over."""
    offset: int = 0
    """The index of its first element, where it is a consecutive part of a larger tensor."""

    def buffers(self) -> dict[str, torch.Tensor]:
        """The rule's buffers, by name."""
        return {name: self.state[name] for name in self.rule.buffers}

    def kept(self) -> dict[str, torch.Tensor]:
        """All that is kept per element: the buffers, and the parameter's remainder where there is one."""
        rest = {REMAINDER: self.state[REMAINDER]} if REMAINDER in self.state else {}
        return self.buffers() | rest

    @property
    def policy(self) -> Policy:
        """How its parameter and moments are stored."""
        return policy_of(self.p, self.group)


class Rows(NamedTuple):
    """The scalars of a step: one row for parameters of a group and an age, the gradient's factor first."""

    values: list[tuple[float, ...]]
    which: list[int]
    """For each item of a lot, the row that it reads."""


class Lot(Protocol):
    """Items of one rule, and the backend that steps them."""

    rule: Rule
    items: Sequence[Item]
    uniform: list[int]
    """For each item, its group's place among the lot's groups: the row it reads where a group is of one age."""
    settles: bool
    """Whether decisions per tensor are made inside `first`, and nothing is left for `second`."""
    draws: bool
    """Whether stores need random bits, for which ``ages`` has to be told before `first`."""
    ages: Sequence[float]
    """The steps that each item has made, this one counted; told where `draws`."""

    def measure(self) -> tuple[Table, Table]:
        """Each gradient's sum of squares, and how many of its elements are not finite."""

    def first(self, rows: Rows) -> Table | None:
        """Run `direction`, store the buffers, and `apply` where nothing is waited for; each item's sums."""

    def second(self, decided: Table) -> None:
        """Run `apply` with each item's decisions."""


@dataclass(eq=False)
class Segment:
    """Consecutive items of one group within a lot."""

    group: dict[str, Any]
    begin: int
    end: int
    per_item: bool
    """Whether each item has a row of its own, because scalars ask for memory that is kept per tensor."""
    ages: list[int] = field(default_factory=list)
    """Where the ages of its items are among those of all."""


def segments(rule: Rule, items: Sequence[Item]) -> list[Segment]:
    """The groups of a lot, in order."""
    asks = rule.scope == "tensor" and bool(set(rule.memory) & {*rule.scalars.arguments, *rule.columns})
    found: list[Segment] = []
    for k, item in enumerate(items):
        if not found or found[-1].group is not item.group:
            found.append(Segment(item.group, k, k, asks))
        found[-1].end = k + 1
        found[-1].ages.append(item.index)
    return found

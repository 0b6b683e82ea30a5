"""`ScheduledLR`: any schedule on any optimizer."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from accelerando.errors import HyperparameterError
from accelerando.schedules.base import Schedule, from_dict
from accelerando.schedules.combine import PerGroup
from accelerando.schedules.shell import Shell


class PureShell(Shell):
    """A shell whose factor is a schedule of the step, one for each group."""

    def __init__(self, optimizer: torch.optim.Optimizer, last_epoch: int = -1) -> None:
        self._schedules: list[Schedule] = []
        self._replacement: PerGroup | None = None
        super().__init__(optimizer, last_epoch)

    @abstractmethod
    def _make(self, i: int) -> Schedule:
        """The schedule of group ``i``, in terms of the rate at factor 1."""

    def _schedule(self, i: int) -> Schedule:
        while len(self._schedules) <= i:
            i_new = len(self._schedules)
            made = self._make(i_new) if self._replacement is None else self._replacement.of(i_new)
            same = next((known for known in self._schedules if known == made), made)
            self._schedules.append(same)
        return self._schedules[i]

    @property
    def schedule(self) -> Schedule | PerGroup:
        """The pure schedule behind this scheduler; a `PerGroup` where groups differ."""
        members = tuple(self._schedule(i) for i in range(self._groups))
        return members[0] if len(set(members)) == 1 else PerGroup(members)

    def replace(self, schedule: Schedule | PerGroup) -> None:
        """Follow another schedule from the present step on."""
        self._replacement = schedule if isinstance(schedule, PerGroup) else PerGroup((schedule,))
        self._schedules.clear()
        self._write()

    def _factors(self) -> list[float]:
        """One evaluation for all the groups that share a schedule."""
        shared = {id(self._schedule(i)): i for i in range(self._groups)}
        known = {key: self._whole_factor(i, self.last_epoch) for key, i in shared.items()}
        return [known[id(schedule)] for schedule in self._schedules[: self._groups]]

    def _factor_at(self, i: int, step: float) -> float:
        return float(self._schedule(i)(step))

    def _factors_at(self, i: int, steps: np.ndarray) -> np.ndarray:
        return np.asarray(self._schedule(i)(steps))

    def _length(self, i: int) -> int | None:
        return self._schedule(i).length

    def _label(self, i: int) -> str:
        return f"{self._name}: {self._schedule(i)!r}"

    def _extra_state(self) -> dict[str, Any]:
        members = [self._schedule(i).to_dict() for i in range(self._groups)]
        return {"schedules": members, "replaced": self._replacement is not None}

    def _load_extra_state(self, state: dict[str, Any]) -> None:
        saved = [from_dict(item) for item in state["schedules"]]
        mine = [self._schedule(i) for i in range(self._groups)]
        for i, (theirs, ours) in enumerate(zip(saved, mine, strict=False)):
            if not _alike(theirs, ours):
                warnings.warn(
                    f"{self._name}: the saved schedule {theirs!r} replaces {ours!r} (group {i}), so that the "
                    "run continues as it began; to change it call replace(schedule) after loading",
                    stacklevel=4,
                )
                break
        self._schedules = saved
        self._replacement = PerGroup(tuple(saved)) if state["replaced"] else None


class ScheduledLR(PureShell):
    """Any schedule on any optimizer: the rate is ``initial_lr × schedule(step)``, times what other hands did.

    Args:
        optimizer: of any library; its groups' ``lr`` are the rates at factor 1.
        schedule: one for all groups, a `per_group`, or a list with one for each group.
        last_epoch: the last step of a run that is resumed without a scheduler state; -1 starts afresh.

    Raises:
        HyperparameterError: not a schedule, or as many schedules as there are not groups.

    Example:
        >>> import torch
        >>> from accelerando.schedules import ScheduledLR, cosine, warmup
        >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))], lr=1e-3)
        >>> scheduler = ScheduledLR(optimizer, warmup(500) >> cosine(20_000, final=0.1))
        >>> [f"{lr:.2e}" for lr in scheduler.lr_at(500)]
        ['1.00e-03']
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule | PerGroup | Sequence[Schedule],
        last_epoch: int = -1,
    ) -> None:
        if isinstance(schedule, Schedule):
            self._given = PerGroup((schedule,))
        else:
            self._given = schedule if isinstance(schedule, PerGroup) else PerGroup(tuple(schedule))
            groups = len(optimizer.param_groups)
            if len(self._given.schedules) != groups:
                raise HyperparameterError(
                    f"ScheduledLR: there must be one schedule for each of the {groups} groups, got "
                    f"{len(self._given.schedules)}; give one schedule to use it for all"
                )
        super().__init__(optimizer, last_epoch)

    def _make(self, i: int) -> Schedule:
        return self._given.of(i)


def _alike(one: Schedule, other: Schedule) -> bool:
    steps = np.unique(np.geomspace(1, 1_000_000, 40).astype(int))
    return one == other or bool(np.allclose(one(steps), other(steps), rtol=1e-6))

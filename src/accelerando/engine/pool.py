"""Step counts, and memory per tensor, of all parameters: one vector each, seen from every state as 0-dim views.

A count per parameter is the layout that checkpoints and other tools know; one vector is what makes it cheap.
"""

from collections.abc import Sequence
from operator import is_, itemgetter
from typing import Any

import numpy as np
import torch


class Pool:
    """The counts and memories of ``states``, which see them from now on.

    Args:
        states: what the optimizer keeps per parameter, each with ``step``.
        memory: for each state, the names that it remembers per tensor.
    """

    def __init__(self, states: Sequence[dict[str, Any]], memory: Sequence[Sequence[str]]) -> None:
        self.states = list(states)
        self._counts = torch.tensor([float(s["step"]) for s in states], dtype=torch.float32)
        self.ages = self._counts.numpy()
        """Steps made, by state; writing here writes to the states."""
        self.one = np.ones_like(self.ages)
        self.memory: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._views: list[tuple[str, list[dict[str, Any]], list[torch.Tensor]]] = []
        self._share("step", self._counts, self.states, range(len(self.states)))
        for name in dict.fromkeys(n for names in memory for n in names):
            kept = torch.full((len(states),), torch.nan, dtype=torch.float64)
            owners = [k for k, names in enumerate(memory) if name in names]
            for k in owners:
                kept[k] = float(states[k][name])
            self.memory[name] = kept.numpy()
            self._share(name, kept, [states[k] for k in owners], owners)

    def holds(self, states: Sequence[dict[str, Any]]) -> bool:
        """Whether these are the states, and they still see this pool."""
        if len(states) != len(self.states) or not all(map(is_, states, self.states)):
            return False
        for name, owners, views in self._views:
            if not all(map(is_, map(itemgetter(name), owners), views)):
                return False
        return True

    def _share(
        self, name: str, vector: torch.Tensor, owners: list[dict[str, Any]], at: Sequence[int]
    ) -> None:
        views = [vector[k] for k in at]
        for state, view in zip(owners, views, strict=True):
            state[name] = view
        self._views.append((name, owners, views))

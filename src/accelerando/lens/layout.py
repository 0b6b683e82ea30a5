"""Parameters that are stepped together, in the order of their groups: what stays the same from step to step."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from accelerando.lens.patches import Patches
from accelerando.lens.sampled import Array

Lots = Sequence[tuple[Sequence[torch.Tensor], Array, bool]]

REST = 64
"""How many steps pass between looks at some of the weights, once there have been as many looks; at first fewer."""

_address = torch.Tensor.data_ptr


class Layout:
    """The parameters that steps have told of, and where their numbers are.

    Attributes:
        plan: of an optimizer's engine, as long as which lasts all is as it was; None if that is not known.
        params: in the order of the groups.
        groups: theirs.
        group: the same as an array.
        order: where they are in what is told, lot by lot; None if in order.
        states: theirs.
        kinds: what is in these.
        has_steps: whether the states count, and recipes need no options as the step left them.
        has_ratios: whether a trust ratio is in any.
        kinds_of_all: a parameter of each group and kind.
        places: where these are among all states that are not empty.
        among: how many ages there are, where they differ.
        sizes: how many real numbers this rank holds of them.
        moments: whether they have a first moment.
        sharded: whether other ranks hold a part of any.
        idle: the parameters that want a gradient and had none, each with its group.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, lots: Lots, plan: object) -> None:
        self.plan = plan
        self._lists = [params for params, _, _ in lots]
        self._lengths = [len(group["params"]) for group in optimizer.param_groups]
        told = [p for params in self._lists for p in params]
        place = {id(p): k for k, p in enumerate(told)}
        ordered = [(p, k) for k, group in enumerate(optimizer.param_groups) for p in group["params"]]
        here = [(p, k) for p, k in ordered if id(p) in place]
        order = [place[id(p)] for p, _ in here]
        self.order = None if order == list(range(len(told))) else np.array(order, dtype=np.intp)
        self.params, self.groups = [p for p, _ in here], [k for _, k in here]
        self.group = np.array(self.groups, dtype=np.intp)
        self.idle = [(p, k) for p, k in ordered if id(p) not in place and p.requires_grad]
        self.states = [optimizer.state.get(p, {}) for p in self.params]
        self.kinds = [tuple(state) for state in self.states]
        groups = optimizer.param_groups
        self.has_steps = all("step" in kind for kind in self.kinds) and "scheduled_lr" not in groups[0]
        self.has_ratios = any("trust_ratio" in kind for kind in self.kinds)
        self.kinds_of_all = list(
            {key: k for k, key in enumerate(zip(self.groups, self.kinds, strict=True))}.values()
        )
        among = {id(state): k for k, state in enumerate(filter(None, optimizer.state.values()))}
        self.among = len(self.params) if plan is None else len(among)
        self.places = np.array([among.get(id(state), -1) for state in self.states], dtype=np.intp)
        self.sizes = [p.numel() * (2 if p.is_complex() else 1) for p in map(_local, self.params)]
        has = np.repeat([has for _, _, has in lots], [len(ps) for ps in self._lists])
        self.moments = has[order]
        self.sharded = any(hasattr(p, "placements") for p in self.params)
        self._rest = REST if plan is not None else 1
        self._names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._patches: dict[tuple[str, ...], tuple[list[int], Patches | None]] = {}

    def holds(self, optimizer: torch.optim.Optimizer, lots: Lots, plan: object) -> bool:
        """Whether the same parameters were told of, with the same states."""
        if plan is not None:
            return plan is self.plan
        return (
            len(lots) == len(self._lists)
            and all(told[0] is known for told, known in zip(lots, self._lists, strict=True))
            and [len(group["params"]) for group in optimizer.param_groups] == self._lengths
            and all(optimizer.state.get(p) is s for p, s in zip(self.params, self.states, strict=True))
        )

    def rest(self, looks: int) -> int:
        """How many steps after so many looks no other is taken."""
        return min(self._rest, looks)

    def ages(self) -> list[int]:
        """How many steps each parameter has made, as its state says."""
        found = [state.get("step") for state in self.states]
        if found and all(isinstance(age, torch.Tensor) for age in found):
            return [int(age) for age in torch.stack(found).tolist()]
        return [int(age or 0) for age in found]

    def patches(self, reads: tuple[str, ...]) -> Patches | None:
        """The places at which these buffers are looked at; None where they do not lie alike."""
        addresses = []
        for name in reads:
            buffers = [state.get(name) for state in self.states]
            if not all(isinstance(buffer, torch.Tensor) for buffer in buffers):
                return None
            addresses += list(map(_address, map(_local, buffers) if self.sharded else buffers))
        known = self._patches.get(reads)
        if known is None or known[0] != addresses:
            known = self._patches[reads] = (addresses, Patches.of(self.params, self.states, reads))
        return known[1]

    def names(self, name: Callable[[torch.Tensor, int], str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of the parameters, and of those that are idle, as ``name`` has it for one of a group."""
        if self._names is None:
            params = zip(self.params, self.groups, strict=True)
            self._names = tuple(name(*one) for one in params), tuple(name(*one) for one in self.idle)
        return self._names

    @property
    def precision(self) -> str:
        """The lowest-precision dtype among the parameters."""
        return precision_of(self.params)


def precision_of(params: Sequence[torch.Tensor]) -> str:
    """The name of the lowest-precision dtype of some parameters."""
    lowest = min({p.dtype for p in params}, key=lambda d: (torch.finfo(d).bits, str(d)))
    return str(lowest).removeprefix("torch.")


def _local(p: Any) -> torch.Tensor:
    return p.detach().to_local() if hasattr(p, "to_local") else p  # type: ignore[no-any-return]

"""Sums over shards completed to sums over tensors, by as few all-reduces as there are sets of ranks to ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.lots import Table
from accelerando.engine.sharding import Reach, reach
from accelerando.errors import UnsupportedTensorError


@dataclass(frozen=True, eq=False)
class Member:
    """A sharded parameter, with or without a gradient on this rank."""

    position: int
    """Its place among all parameters of the optimizer."""
    group: dict[str, Any]
    rule: Rule
    p: torch.Tensor
    place: str
    reach: Reach


@dataclass(frozen=True)
class _Stage:
    """One all-reduce: which rows, over which ranks."""

    ranks: Any
    device: str
    rows: list[int]


def members(groups: Sequence[dict[str, Any]], rules: Sequence[Rule]) -> list[Member]:
    """Every sharded parameter of the groups, in their order, which is the same on every rank."""
    found: list[Member] = []
    position = 0
    for i, (group, rule) in enumerate(zip(groups, rules, strict=True)):
        for j, p in enumerate(group["params"]):
            if where := reach(p):
                found.append(Member(position, group, rule, p, f"group {i}, parameter {j}", where))
            position += 1
    return found


class Exchange:
    """A table with a row for every member, completed over the ranks that hold the member's other shares.

    Rows depend on the groups alone, never on which gradients a rank has, so that every rank sends the same vector.

    Args:
        owner: who asks, as messages give it.
        members: whose sums are completed.
        width: the most sums that a member has.
        positions: for each lot of this rank, where its items are among all parameters.

    Raises:
        UnsupportedTensorError: this rank is outside the mesh of a parameter.
    """

    def __init__(
        self, owner: str, members: Sequence[Member], width: int, positions: Sequence[Sequence[int]]
    ) -> None:
        for member in members:
            if member.reach[0].get_coordinate() is None:
                raise UnsupportedTensorError(
                    f"{owner}: this rank is outside the mesh of a parameter whose sums it needs ({member.place}); give "
                    "the optimizer the parameters that this rank has a share of"
                )
        self.members = list(members)
        self.width = width
        self.row = {m.position: k for k, m in enumerate(members)}
        self.links = [self._link(places) for places in positions]
        self.stages = _stages([m.reach for m in members])

    def complete(self, tables: Sequence[Table | None]) -> Table:
        """Complete the rows of ``tables`` in place.

        Args:
            tables: sums of shares, one table for each lot; None has no part in it.

        Returns:
            For every member, how many shares were summed, and the sums.
        """
        whole = np.zeros((len(self.members), 1 + self.width))
        parts = [
            (table, mine, rows, slice(1, 1 + table.shape[1]))
            for table, (mine, rows) in zip(tables, self.links, strict=True)
            if mine and table is not None
        ]
        for table, mine, rows, columns in parts:
            whole[rows, 0], whole[rows, columns] = 1.0, table[mine]
        for stage in self.stages:
            whole[stage.rows] = _all_reduce(whole[stage.rows], stage)
        for table, mine, rows, columns in parts:
            table[mine] = whole[rows, columns]
        return whole

    def _link(self, places: Sequence[int]) -> tuple[list[int], list[int]]:
        """Which items of a lot are members, and their rows."""
        pairs = [(k, self.row[at]) for k, at in enumerate(places) if at in self.row]
        return [k for k, _ in pairs], [row for _, row in pairs]

    def anywhere(self, here: bool) -> bool:
        """Whether something holds on any rank."""
        flag = np.array([float(here)])
        for stage in self.stages:
            flag = _all_reduce(flag, stage)
        return bool(flag[0])


def _all_reduce(values: Table, stage: _Stage) -> Table:
    vector = torch.from_numpy(values).to(stage.device)
    torch.distributed.all_reduce(vector, group=stage.ranks)
    done: Table = vector.cpu().numpy()
    return done


def _stages(reaches: Sequence[Reach]) -> list[_Stage]:
    """One all-reduce for each set of sharded dimensions, where one group of ranks spans each set of the mesh.

    Else one for each dimension, with the rows of every set that has it; this, too, where the dimensions are fewer
    than the sets. No group of ranks is ever made for this.
    """
    found: list[_Stage] = []
    for mesh in dict.fromkeys(mesh for mesh, _ in reaches):
        sets: dict[tuple[int, ...], list[int]] = {}
        for k, (other, dims) in enumerate(reaches):
            if other == mesh:
                sets.setdefault(dims, []).append(k)
        spans = [_span(mesh, dims) for dims in sets]
        axes = sorted({axis for dims in sets for axis in dims})
        if all(span is not None for span in spans) and len(sets) <= len(axes):
            found += [_Stage(s, mesh.device_type, at) for s, at in zip(spans, sets.values(), strict=True)]
            continue
        for axis in axes:
            rows = [k for dims, at in sets.items() if axis in dims for k in at]
            found.append(_Stage(mesh.get_group(axis), mesh.device_type, rows))
    return found


def _span(mesh: Any, dims: tuple[int, ...]) -> Any:
    """The group of ranks along all of ``dims``; None if there is none."""
    if len(dims) == 1:
        return mesh.get_group(dims[0])
    sizes = [mesh.size(d) for d in dims]
    whole = int(np.prod(sizes)) == torch.distributed.get_world_size()
    return torch.distributed.group.WORLD if whole else None

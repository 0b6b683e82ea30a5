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

    Raises:
        UnsupportedTensorError: this rank is outside the mesh of a parameter.
    """

    def __init__(self, owner: str, members: Sequence[Member], width: int) -> None:
        for member in members:
            if member.reach[0].get_coordinate() is None:
                raise UnsupportedTensorError(
                    f"{owner}: this rank is outside the mesh of a parameter whose sums it needs ({member.place}); give "
                    "the optimizer the parameters that this rank has a share of"
                )
        self.members = list(members)
        self.width = width
        self.row = {m.position: k for k, m in enumerate(members)}
        self.stages = _stages([m.reach for m in members])

    def complete(self, tables: Sequence[Table | None], positions: Sequence[Sequence[int]]) -> Table:
        """Complete the rows of ``tables`` in place.

        Args:
            tables: sums of shares, one table for each lot; None and tables without columns have no part in it.
            positions: for each lot, where its items are among all parameters.

        Returns:
            For every member, how many shares were summed, and the sums.
        """
        whole = np.zeros((len(self.members), 1 + self.width))
        links = []
        for table, places in zip(tables, positions, strict=True):
            if table is None or not table.shape[1]:
                continue
            pairs = [(k, self.row[at]) for k, at in enumerate(places) if at in self.row]
            if pairs:
                mine, rows = map(list, zip(*pairs, strict=True))
                whole[rows, 0], whole[rows, 1 : 1 + table.shape[1]] = 1.0, table[mine]
                links.append((table, mine, rows))
        for stage in self.stages:
            whole[stage.rows] = _all_reduce(whole[stage.rows], stage)
        for table, mine, rows in links:
            table[mine] = whole[rows, 1 : 1 + table.shape[1]]
        return whole

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

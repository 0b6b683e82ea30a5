"""Sums over a tensor's elements, global over every rank that holds a share."""

from collections.abc import Sequence
from typing import Any

import torch

from accelerando.lens.flat import Segment

SAFE = (1e-30, 1e30)
"""Where a float32 sum of products is trusted; beyond, squares may have overflowed or vanished."""


Vector = Any
"""A tensor, or on a CPU the NumPy view of one."""


def summed(x: torch.Tensor) -> Vector:
    """A vector as `Sums` takes it."""
    return x.numpy() if x.device.type == "cpu" else x


class Sums:
    """A table of inner products, a row a tensor, added to part by part in float64.

    On a CPU the numbers are there at once; elsewhere they stay on their device until `table` is asked for,
    and nothing waits for it.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self._rows, self._columns = rows, columns
        self._here = [[0.0] * columns for _ in range(rows)]
        self._there: dict[torch.device, tuple[list[int], list[torch.Tensor]]] = {}

    def add(self, parts: Sequence[Segment], column: int, a: Vector, b: Vector, scale: float = 1.0) -> None:
        """Add scale·⟨a, b⟩ of each part, both vectors by `summed`, to its row."""
        if not isinstance(a, torch.Tensor):
            self._add_here(parts, column, a, b, scale)
            return
        places, values = self._there.setdefault(a.device, ([], []))
        for part in parts:
            places.append(part.row * self._columns + column)
            values.append(scale * torch.dot(a[part.low : part.high], b[part.low : part.high]))

    def _add_here(self, parts: Sequence[Segment], column: int, x: Any, y: Any, scale: float) -> None:
        """Of NumPy vectors; in float64 where float32 squares would overflow or vanish."""
        low, high = SAFE
        table = self._here
        for part in parts:
            a, b = x[part.low : part.high], y[part.low : part.high]
            found = float(a.dot(b))
            if not low < abs(found) < high:
                found = float(a.astype("f8").dot(b.astype("f8")))
            table[part.row][column] += scale * found

    def count(self, row: int, column: int, those: torch.Tensor) -> None:
        """Add how many are true, on their device."""
        places, values = self._there.setdefault(those.device, ([], []))
        places.append(row * self._columns + column)
        values.append(those.sum())

    def put(self, row: int, column: int, value: float) -> None:
        """Write a number that is known already."""
        self._here[row][column] = value

    def get(self, row: int, column: int) -> float:
        """What has been added on the CPU."""
        return self._here[row][column]

    @property
    def here(self) -> bool:
        """Whether no other device is to be waited for."""
        return not self._there

    def table(self, owners: Sequence[torch.Tensor]) -> list[list[float]]:
        """The table, each row summed over the ranks that share its owner; this waits for other devices."""
        if not self._there and not any(hasattr(owner, "placements") for owner in owners):
            return self._here
        table = torch.tensor(self._here, dtype=torch.float64).reshape(-1)
        for device, (places, values) in self._there.items():
            part = torch.zeros(table.numel(), dtype=torch.float64, device=device)
            where = torch.tensor(places, device=device)
            part.index_add_(0, where, torch.stack([v.to(torch.float64) for v in values]))
            table = table.to(device, non_blocking=True) + part
        whole: list[list[float]] = reduced(table.reshape(self._rows, self._columns), owners).tolist()
        return whole


def reduced(table: torch.Tensor, owners: Sequence[torch.Tensor]) -> torch.Tensor:
    """The table with each row summed over the ranks that share its owner.

    An owner that is a DTensor is summed over those mesh dimensions that shard it, all owners of the same mesh
    and dimensions in one all-reduce; replicated dimensions already agree.
    """
    shared: dict[tuple[Any, tuple[int, ...]], list[int]] = {}
    for i, owner in enumerate(owners):
        dims = tuple(k for k, how in enumerate(getattr(owner, "placements", ())) if how.is_shard())
        if dims:
            shared.setdefault((owner.device_mesh, dims), []).append(i)  # type: ignore[attr-defined]
    for (mesh, dims), which in shared.items():
        part = table[which]
        for dim in dims:
            torch.distributed.all_reduce(part, group=mesh.get_group(dim))
        table[which] = part
    return table

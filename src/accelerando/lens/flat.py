"""Many tensors as few long vectors: where a step's beginning is kept, and how it is gone through in blocks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

BLOCK = 1 << 17
"""Elements gone through at once on a CPU: a few vectors of them stay in its cache."""

DEVICE_BLOCK = 1 << 24
"""The same on another device, where each block costs launches and its temporaries cost memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor's elements lie in a memory: ``[start, stop)`` of one of its vectors."""

    vector: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A tensor's share of a block: ``[low, high)`` of the block is ``[begin, …)`` of the tensor."""

    row: int
    low: int
    high: int
    begin: int


@dataclass(frozen=True, slots=True)
class Block:
    """``[start, stop)`` of a memory's vector, and whose elements these are, in order."""

    memory: torch.Tensor
    segments: tuple[Segment, ...]

    def gather(self, tensor_of: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """The block's elements of other tensors: those of ``tensor_of(row)``, each flat and of its length."""
        pieces = [tensor_of(s.row)[s.begin : s.begin + s.high - s.low] for s in self.segments]
        return (pieces[0] if len(pieces) == 1 else torch.cat(pieces)).to(self.memory.dtype)


class Memory:
    """Vectors that hold a copy of some tensors; kept, and used again while the tensors are the same."""

    def __init__(self) -> None:
        self.vectors: list[torch.Tensor] = []
        self.places: list[Place] = []
        self._views: list[torch.Tensor] = []
        self._shapes: list[tuple[torch.Size, torch.dtype, torch.device]] = []

    def copy(self, tensors: Sequence[torch.Tensor]) -> None:
        """Copy what this rank holds of each tensor."""
        shares = [_stored(t) for t in tensors]
        self._fit(shares)
        if shares:
            torch._foreach_copy_(self._views, shares)

    def zero(self, tensors: Sequence[torch.Tensor]) -> None:
        """Hold zeros of each tensor's shape."""
        self._fit([_stored(t) for t in tensors])
        for vector in self.vectors:
            vector.zero_()

    def of(self, index: int) -> torch.Tensor:
        """The copy of one tensor, flat."""
        place = self.places[index]
        return self.vectors[place.vector][place.start : place.stop]

    def blocks(self, which: Sequence[tuple[int, int]]) -> Iterator[Block]:
        """Go through the copies of some tensors, (row, index) each, indices rising; none is copied again."""
        run: list[Segment] = []
        vector = first = last = -1
        for row, index in which:
            place = self.places[index]
            size = self._block(place.vector)
            if run and (place.vector != vector or place.start != last or place.stop - first > size):
                yield Block(self.vectors[vector][first:last], tuple(run))
                run = []
            if place.stop - place.start > size:
                yield from self._pieces(row, place, size)
                continue
            if place.stop == place.start:
                continue
            if not run:
                vector, first = place.vector, place.start
            run.append(Segment(row, place.start - first, place.stop - first, 0))
            last = place.stop
        if run:
            yield Block(self.vectors[vector][first:last], tuple(run))

    def _pieces(self, row: int, place: Place, size: int) -> Iterator[Block]:
        """One long tensor, a piece a block."""
        for begin in range(place.start, place.stop, size):
            piece = self.vectors[place.vector][begin : min(begin + size, place.stop)]
            yield Block(piece, (Segment(row, 0, piece.numel(), begin - place.start),))

    def _block(self, vector: int) -> int:
        return BLOCK if self.vectors[vector].device.type == "cpu" else DEVICE_BLOCK

    def _fit(self, shares: Sequence[torch.Tensor]) -> None:
        """Lay the memory out, unless it is laid out for tensors like these."""
        shapes = [(s.shape, s.dtype, s.device) for s in shares]
        if shapes != self._shapes:
            self._lay_out(shares)
            self._shapes = shapes

    def _lay_out(self, shares: Sequence[torch.Tensor]) -> None:
        """One vector for each device and precision, the tensors in it one after another."""
        lengths: dict[tuple[torch.device, torch.dtype], int] = {}
        spans: list[tuple[tuple[torch.device, torch.dtype], int]] = []
        for share in shares:
            kind = (share.device, computed_in(share.dtype))
            spans.append((kind, lengths.get(kind, 0)))
            lengths[kind] = lengths.get(kind, 0) + share.numel()
        kinds = list(lengths)
        self.vectors = [torch.empty(n, dtype=kind[1], device=kind[0]) for kind, n in lengths.items()]
        self.places = [
            Place(kinds.index(kind), start, start + share.numel())
            for (kind, start), share in zip(spans, shares, strict=True)
        ]
        self._views = [self.of(i).view(share.shape) for i, share in enumerate(shares)]


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """The precision in which the lens looks at numbers of this one."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def flat(x: torch.Tensor) -> torch.Tensor:
    """This rank's share of a tensor, real, as one row."""
    return _stored(x).reshape(-1)


def _stored(x: torch.Tensor) -> torch.Tensor:
    """This rank's share as it is stored, complex numbers as pairs."""
    if hasattr(x, "to_local"):
        x = x.detach().to_local()  # type: ignore[attr-defined]
    return torch.view_as_real(x) if x.is_complex() else x

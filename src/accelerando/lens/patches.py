"""A few weights of each tensor, looked at where a look at all of them would cost a pass over memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from accelerando.lens.sampled import QUANTILES, Array

RUNS, LONG = 64, 16
"""Of a tensor with more weights than both together, that many evenly spaced runs of that length: a cache line each."""

MOST = RUNS * LONG
RARE = 4
"""Where all runs are looked at, quantiles are of every fourth weight of them."""


class Patches:
    """The same places of some tensors, their buffers and their gradients.

    Attributes:
        lengths: how many places there are, by tensor.
        shares: how many weights a place stands for, by tensor.
    """

    def __init__(self, params: Sequence[torch.Tensor], buffers: Sequence[Sequence[torch.Tensor]]) -> None:
        self._params = params
        sizes = np.array([x.numel() for x in map(_stored, params)], dtype=np.int64)
        self.lengths: npt.NDArray[np.int64] = np.minimum(sizes, MOST)
        self.shares: Array = sizes / np.maximum(self.lengths, 1)
        self._width = int(self.lengths.max(initial=1))
        self._dtype = torch.float64 if any(p.dtype == torch.float64 for p in params) else torch.float32
        self._sources = [_places(x) for own in buffers for x in own]
        self._table, self._into = self._room(len(buffers))
        self._fresh, self._into_fresh = self._room(1)

    @classmethod
    def of(
        cls, params: Sequence[torch.Tensor], states: Sequence[Mapping[str, Any]], reads: Sequence[str]
    ) -> "Patches | None":
        """Of these buffers; None where one is missing, or does not lie in memory as its parameter does."""
        if not all(isinstance(state.get(name), torch.Tensor) for state in states for name in reads):
            return None
        if not all(_alike(state[name], p) for p, state in zip(params, states, strict=True) for name in reads):
            return None
        return cls(params, [[state[name] for state in states] for name in reads])

    def buffers(self) -> Array:
        """What the buffers are there now, by buffer; a row a tensor."""
        torch._foreach_copy_(self._into, self._sources)
        buffers: Array = self._table.numpy().copy()
        return buffers

    def gradients(self) -> Array:
        """What the gradients are there now; zero where there is none."""
        self._fresh.zero_()
        found, into = [], []
        for k, p in enumerate(self._params):
            g = p.grad
            if g is not None and g.layout == torch.strided and _alike(g, p):
                found.append(_places(g))
                into.append(self._into_fresh[k])
        if found:
            torch._foreach_copy_(into, found)
        fresh: Array = self._fresh.numpy()[0].copy()
        return fresh

    def _room(self, count: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        table = torch.zeros(count, len(self._params), self._width, dtype=self._dtype)
        into = [
            table[k, row, :n].view(RUNS, LONG) if size > MOST else table[k, row, :n]
            for k in range(count)
            for row, (n, size) in enumerate(
                zip(self.lengths.tolist(), (x.numel() for x in map(_stored, self._params)), strict=True)
            )
        ]
        return table, into


def judged(g: Array, u: Array, scale: Array) -> tuple[Array, Array]:
    """Σ gu and Σ|gu| over the places, times the scale of each row."""
    with np.errstate(all="ignore"):
        product = g.astype(np.float64) * u
        return scale * product.sum(axis=-1), scale * np.abs(product).sum(axis=-1)


def quantiles_of(lr: Array, x: Array, lengths: npt.NDArray[np.int64]) -> Array:
    """The quantiles of lr/x over the first places of each row; where that is all of a tensor's runs, over some."""
    found = np.full((len(x), len(QUANTILES)), np.nan)
    full = lengths == MOST
    for rows, some, count in (
        (np.flatnonzero(full), slice(None, None, RARE), np.full(full.sum(), MOST // RARE)),
        (np.flatnonzero(~full), slice(0, int(lengths[~full].max(initial=0))), lengths[~full]),
    ):
        if len(rows):
            found[rows] = _quantiles(lr[rows], x[rows, some], count)
    return found


def _quantiles(lr: Array, x: Array, lengths: npt.NDArray[np.int64]) -> Array:
    with np.errstate(all="ignore"):
        rates = np.where(np.arange(x.shape[1]) < lengths[:, None], 1 / x, np.inf)
    rates.sort(axis=1)
    rows, last, found = np.arange(len(x)), lengths - 1, np.full((len(x), len(QUANTILES)), np.nan)
    for k, q in enumerate(QUANTILES):
        at = q * np.maximum(last, 0)
        low = at.astype(np.int64)
        a, b = rates[rows, low], rates[rows, np.minimum(low + 1, np.maximum(last, 0))]
        with np.errstate(all="ignore"):
            found[:, k] = lr * (a + (at - low) * np.where(b == a, 0.0, b - a))
    found[lengths == 0] = np.nan
    return found


def _stored(x: torch.Tensor) -> torch.Tensor:
    if hasattr(x, "to_local"):
        x = x.detach().to_local()  # type: ignore[attr-defined]
    return torch.view_as_real(x) if x.is_complex() else x


def _alike(x: torch.Tensor, p: torch.Tensor) -> bool:
    """Whether elements of one address offset belong together, and are on the CPU without gaps."""
    if x.shape != p.shape or x.device.type != "cpu":
        return False
    if x.is_contiguous() and p.is_contiguous():
        return True
    a, b = _stored(x), _stored(p)
    dense = b.is_contiguous() or (b.ndim == 4 and b.is_contiguous(memory_format=torch.channels_last))
    return dense and a.stride() == b.stride()


def _places(x: torch.Tensor) -> torch.Tensor:
    x = _stored(x)
    n = x.numel()
    if n <= MOST:
        return x.as_strided((n,), (1,))
    return x.as_strided((RUNS, LONG), ((n - LONG) // (RUNS - 1), 1))

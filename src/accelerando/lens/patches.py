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
        found = []
        for p in self._params:
            g = p.grad
            if g is None or g.layout != torch.strided or not _alike(g, p):
                break
            found.append(_places(g))
        else:
            torch._foreach_copy_(self._into_fresh, found)
            fresh: Array = self._fresh.numpy()[0].copy()
            return fresh
        return self._some_gradients()

    def _some_gradients(self) -> Array:
        self._fresh.zero_()
        for p, into in zip(self._params, self._into_fresh, strict=True):
            g = p.grad
            if g is not None and g.layout == torch.strided and _alike(g, p):
                into.copy_(_places(g))
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
        product = g * u
        net = product.sum(axis=-1, dtype=np.float64)
        return scale * net, scale * np.abs(product, out=product).sum(axis=-1, dtype=np.float64)


def quantiles_of(lr: Array, x: Array, lengths: npt.NDArray[np.int64]) -> Array:
    """The quantiles of lr/x over the first places of each row; where that is all of a tensor's runs, over some."""
    found = np.full((len(x), len(QUANTILES)), np.nan)
    full = lengths == MOST
    if full.any():
        found[full] = _quantiles(lr[full], x[full, ::RARE], np.full(full.sum(), MOST // RARE))
    rest = ~full & (lengths > 0)
    if rest.any():
        count = lengths[rest]
        some = x[rest, : count.max()]
        some[np.arange(some.shape[1]) >= count[:, None]] = np.inf
        found[rest] = _quantiles(lr[rest], some, count)
    return found


def _quantiles(lr: Array, x: Array, count: npt.NDArray[np.int64]) -> Array:
    """Of the smallest ``count`` of each row: x in order is 1/x in order, the other way round."""
    x.sort(axis=1)
    last = count[:, None] - 1
    at = np.array(QUANTILES) * last
    low = at.astype(np.int64)
    rows = np.arange(len(x))[:, None]
    a, b = (1 / x[rows, last - k].astype(np.float64) for k in (low, np.minimum(low + 1, last)))
    rates: Array = lr[:, None] * (a + (at - low) * np.where(b == a, 0.0, b - a))
    return rates


def _stored(x: torch.Tensor) -> torch.Tensor:
    if hasattr(x, "to_local"):
        x = x.detach().to_local()  # type: ignore[attr-defined]
    return torch.view_as_real(x) if x.is_complex() else x


def _alike(x: torch.Tensor, p: torch.Tensor) -> bool:
    """Whether elements of one address offset belong together, and are on the CPU without gaps."""
    if not x.is_cpu or x.shape != p.shape:
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

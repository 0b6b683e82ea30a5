"""Random bits without a generator: a hash of a seed, a step, a parameter and an element, the same on every backend.

``mix`` is the 32-bit finalizer "lowbias32" of Wellons (2018, *Prospecting for Hash Functions*): two multiplications
and three shifts, a bijection. A parameter's step has two keys, made on the host; an element's 16 bits are

    mix(mix(index ^ first) + second + slot · GOLDEN) >> 16,   all modulo 2**32,

where ``slot`` tells the arrays of one element apart: 0 is the parameter, 1, 2, … its buffers. Nothing but these
numbers decides: not the thread, the chunk, the order, nor what was drawn before. From 2**32 elements on, a tensor's
bits repeat.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

MASK = 0xFFFFFFFF
FACTORS = (0x7FEB352D, 0x846CA68B)
GOLDEN = 0x9E3779B9
SALTS = (0x243F6A88, 0x85A308D3)
"""What makes the two keys differ: the first digits of π."""

Keys = npt.NDArray[np.int64]


def mix(x: Any) -> Any:
    """A bijection of the integers below 2**32 (a Python int, or an int64 array or tensor), each bit from every bit."""
    x = ((x ^ (x >> 16)) * FACTORS[0]) & MASK
    x = ((x ^ (x >> 15)) * FACTORS[1]) & MASK
    return x ^ (x >> 16)


def keys(seeds: Sequence[int], steps: Sequence[float], ordinals: Sequence[int]) -> Keys:
    """The keys of parameters, one row for the first and one for the second.

    Args:
        seeds: ``store_seed`` of each parameter's group.
        steps: how many steps each has made, this one counted.
        ordinals: its place among all parameters of the optimizer.
    """
    seed, ordinal = (np.asarray(values, dtype=np.int64) & MASK for values in (seeds, ordinals))
    step = np.asarray(steps, dtype=np.float64).astype(np.int64) & MASK
    return np.stack([mix(mix(mix(seed ^ salt) ^ ordinal) ^ step) for salt in SALTS])


def random16(index: torch.Tensor, first: int, second: int, slot: int) -> torch.Tensor:
    """16 bits for each element whose ``index`` is given, as int64."""
    bits: torch.Tensor = mix((mix((index & MASK) ^ first) + second + slot * GOLDEN) & MASK) >> 16
    return bits


def places(t: torch.Tensor, offset: int) -> torch.Tensor:
    """The index of each element: its place in memory, where the tensor is dense; else in the order of its axes."""
    index = torch.arange(offset, offset + t.numel(), dtype=torch.int64, device=t.device)
    reach = 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) if t.numel() else 0
    return index.as_strided(t.shape, t.stride()) if reach == t.numel() else index.view(t.shape)

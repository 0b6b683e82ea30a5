"""Chunks over threads: kernels release the interpreter's lock, so a plain pool runs them side by side.

No OpenMP: its layers need a system library that slim images lack, or abort on concurrent use. The pool is made
when a model is first large enough, and anew in a forked child, whose copy has no threads.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch

ENOUGH = 1 << 20
"""Elements below which one thread is faster than waking others."""

_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def ranges(sizes: Any, elements: int) -> list[tuple[int, int]]:
    """Consecutive chunks for each thread, in equal numbers of elements as nearly as chunks allow."""
    count = torch.get_num_threads() if elements >= ENOUGH else 1
    if count == 1:
        return [(0, len(sizes))]
    until = np.cumsum(sizes)
    cuts = [int(np.searchsorted(until, elements * k / count)) for k in range(1, count)]
    edges = [0, *cuts, len(sizes)]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def run(kernel: Callable[..., None], arguments: Sequence[Any], parts: Sequence[tuple[int, int]]) -> None:
    """Call ``kernel(*arguments, begin, end)`` for every part; the last one on this thread."""
    if len(parts) == 1:
        kernel(*arguments, *parts[0])
        return
    waiting = [_pool(len(parts) - 1).submit(kernel, *arguments, *part) for part in parts[:-1]]
    kernel(*arguments, *parts[-1])
    for future in waiting:
        future.result()


def _pool(size: int) -> ThreadPoolExecutor:
    if size not in _pools:
        _pools[size] = ThreadPoolExecutor(size, thread_name_prefix="accelerando")
    return _pools[size]

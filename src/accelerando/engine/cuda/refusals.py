"""What the CUDA backend cannot step, in words."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch

from accelerando.engine.lots import Item
from accelerando.engine.state import buffer_dtype
from accelerando.engine.stores import REMAINDER
from accelerando.engine.tensors import alike, dense

STORED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def why_not(item: Item) -> str | None:
    """Why one item cannot be stepped by a kernel; None if it can."""
    p, g = item.p, item.g
    if find_spec("triton") is None:
        return "triton is not installed"
    for t in (p, g):
        if type(t) not in _PLAIN:
            return f"{type(t).__name__} is a tensor of another kind"
        if t.dtype not in STORED:
            return f"there are no kernels for {t.dtype}"
        if t.is_conj() or t.is_neg():
            return "it is conjugated or negated only on reading"
        if t.numel() and t.data_ptr() == 0:
            return "its memory was given back"
    if not dense(p):
        return "its elements do not lie side by side"
    if g.device != p.device:
        return f"its gradient is on {g.device}"
    if not alike(p, g):
        return "its gradient is laid out otherwise"
    for name, buffer in item.kept().items():
        dtype = torch.int16 if name == REMAINDER else buffer_dtype(p, item.rule, name, item.group)
        if buffer.device != p.device or buffer.dtype != dtype:
            return f"{name} is {buffer.dtype} on {buffer.device}"
        if not alike(p, buffer):
            return f"{name} is laid out otherwise"
    return None


def why_not_together(items: Sequence[Item], groups: Sequence[Mapping[str, Any]] = ()) -> str | None:
    """Why these items cannot be stepped in one go; None if they can.

    ``groups`` are the optimizer's, where some may have no gradient at all.
    """
    if len({i.p.device for i in items}) > 1:
        return "parameters lie on several devices"
    rules = list(dict.fromkeys(i.rule for i in items))
    if any("all" in r.sums.values() for r in rules):
        if len(rules) > 1:
            return "several rules sum over all parameters"
        stepped = {id(i.group) for i in items}
        if any(id(g) not in stepped for g in groups):
            return "a group without gradients shares in a decision over all parameters"
    return "parameters or buffers share memory" if _crossed(items) else None


def _crossed(items: Sequence[Item]) -> bool:
    spans = sorted(
        (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size())
        for item in items
        for t in (item.p, *item.kept().values())
        if t.numel()
    )
    return any(begin < end for (_, end), (begin, _) in pairwise(spans))

"""Which backend steps a parameter, and why not another."""

from collections.abc import Sequence

import torch

from accelerando.engine.cpu import modules
from accelerando.engine.cpu.lot import storage
from accelerando.engine.eager import compute_dtype
from accelerando.engine.lots import Item
from accelerando.engine.options import say_once
from accelerando.engine.tensors import alike, dense
from accelerando.errors import BackendUnavailable

_PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def choose(owner: str, items: Sequence[Item]) -> list[str]:
    """The backend of each item: what its group demands, or the fastest that can step it.

    Raises:
        BackendUnavailable: a group demands a backend that cannot step an item.
    """
    crossed = _crossed(items)
    return [_choose(owner, item, item.index in crossed) for item in items]


def _choose(owner: str, item: Item, crossed: bool) -> str:
    demanded = item.group.get("backend")
    if demanded == "eager":
        return "eager"
    reason = "it shares memory with another parameter or buffer" if crossed else why_not_cpu(item)
    if reason is None:
        return "cpu"
    if demanded == "cpu":
        raise BackendUnavailable(
            f"{owner}: backend='cpu' cannot step this parameter ({item.place}): {reason}; leave backend out, and "
            "eager steps it"
        )
    say_once(f"{owner}: eager steps what no kernel can step: {reason}", item.place)
    return "eager"


def why_not_cpu(item: Item) -> str | None:
    """Why the CPU backend cannot step an item; None if it can."""
    p, g = item.p, item.g
    if p.device.type != "cpu":
        return f"there are no kernels for {p.device.type} devices"
    if reason := modules.why_not():
        return reason
    if type(p) not in _PLAIN or type(g) not in _PLAIN:
        other = type(p) if type(p) not in _PLAIN else type(g)
        return f"{other.__name__} is a tensor of another kind"
    if torch._is_functional_tensor(p):
        return "it is a tensor of a functional transform"
    for t in (p, g):
        if storage(t.dtype) is None:
            return f"there are no kernels for {t.dtype}"
        if t.dtype == torch.float16 and not modules.has_float16():
            return "this processor does not convert float16"
        if t.is_conj() or t.is_neg():
            return "it is conjugated or negated only on reading"
        if t.numel() and t.data_ptr() == 0:
            return "its memory was given back"
    return _why_not_laid_out(item)


def _why_not_laid_out(item: Item) -> str | None:
    if not dense(item.p):
        return "its elements do not lie side by side"
    if not alike(item.p, item.g):
        return "its gradient is laid out otherwise"
    for name, buffer in item.buffers().items():
        if buffer.device.type != "cpu" or buffer.dtype != compute_dtype(item.p.dtype):
            return f"{name} is {buffer.dtype} on {buffer.device}"
        if not alike(item.p, buffer):
            return f"{name} is laid out otherwise"
    return None


def _crossed(items: Sequence[Item]) -> set[int]:
    """The items whose parameter or buffers share memory with another's."""
    spans = sorted(
        (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size(), item.index)
        for item in items
        if item.p.device.type == "cpu" and item.p.layout == torch.strided and type(item.p) in _PLAIN
        for t in (item.p, *item.buffers().values())
        if t.numel() and t.device.type == "cpu"
    )
    found: set[int] = set()
    reach, owner = 0, -1
    for begin, end, index in spans:
        if begin < reach:
            found |= {index, owner}
        if end > reach:
            reach, owner = end, index
    return found

"""Which backend steps a parameter, and why not another."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from accelerando.engine.cpu import modules
from accelerando.engine.cpu.lot import storage
from accelerando.engine.lots import Item
from accelerando.engine.options import say_once
from accelerando.engine.state import buffer_dtype
from accelerando.engine.stores import REMAINDER
from accelerando.engine.tensors import alike, dense
from accelerando.errors import BackendUnavailable

DEVICES = ("cuda",)
"""The kinds of devices for which whole steps are made there."""
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


def why_not_on_device(owner: str, items: Sequence[Item], groups: Sequence[Mapping[str, Any]]) -> str | None:
    """Why these items' step is not made on their device as a whole; None if it is.

    Raises:
        BackendUnavailable: a group demands that it is, and it cannot be.
    """
    demanded = any(g["backend"] == "cuda" for g in groups)
    if not demanded and (not items or items[0].p.device.type not in DEVICES):
        return "the parameters are on no such device"
    if any(g["backend"] in ("eager", "cpu") for g in groups):
        return "a group demands another backend"
    reason, place = _against_device(items, groups)
    if reason and demanded:
        raise BackendUnavailable(
            f"{owner}: backend='cuda' cannot make this step{place}: {reason}; leave backend out, and eager makes it"
        )
    if reason:
        say_once(f"{owner}: eager steps what no kernel can step: {reason}", place.strip(" ()"))
    return reason


def _against_device(items: Sequence[Item], groups: Sequence[Mapping[str, Any]]) -> tuple[str | None, str]:
    if not items or items[0].p.device.type not in DEVICES:
        return "the parameters are on no such device", ""
    from accelerando.engine.cuda.refusals import why_not, why_not_together

    for item in items:
        reason = why_not(item)
        if not reason and not item.whole:
            reason = "its sums are completed over ranks"
        if reason:
            return reason, f" ({item.place})"
    return why_not_together(items, groups), ""


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
    for name, buffer in item.kept().items():
        dtype = torch.int16 if name == REMAINDER else buffer_dtype(item.p, item.rule, name, item.group)
        if buffer.device.type != "cpu" or buffer.dtype != dtype:
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
        for t in (item.p, *item.kept().values())
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

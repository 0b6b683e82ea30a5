"""How parameters and their moments are stored: policies of the engine, which no rule knows of.

Rules compute in float32. What they leave is rounded to the nearest value, or up or down by chance in proportion
(``stochastic``), or to the nearest with the lost bits kept beside it (``compensated``).

A compensated bfloat16 ``p`` and its int16 ``remainder`` are one float32 number, the master: as integers,
``master = (p << 16) + remainder``. Adding 0x8000 to the master and keeping the upper half rounds to the nearest
bfloat16, ties away from zero: unlike ties to even, that can be undone, since the sign of the lower half says which
way it went.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from accelerando.engine import hashing
from accelerando.engine.anatomy import Rule
from accelerando.engine.options import say_once
from accelerando.errors import HyperparameterError

Tensor = torch.Tensor
HALVES = (torch.bfloat16, torch.float16)
REMAINDER = "remainder"
_F16_NORMAL = 0x38800000
"""The bits of 2**-14, the smallest float32 that is a normal float16."""


@dataclass(frozen=True)
class Policy:
    """How one parameter is stored.

    Attributes:
        p: ``nearest``, ``stochastic`` or ``compensated``; wide parameters are always ``nearest``, that is exact.
        moments: whether buffers that start at zero are bfloat16, stored stochastically.
    """

    p: str
    moments: bool

    @property
    def draws(self) -> bool:
        """Whether stores need random bits."""
        return self.moments or self.p == "stochastic"

    def narrows(self, rule: Rule, name: str) -> bool:
        """Whether a buffer of the rule is kept in bfloat16; what starts at the parameter is no moment."""
        return self.moments and rule.buffers.get(name) == "zeros"


def policy_of(p: Tensor, group: Mapping[str, Any]) -> Policy:
    """What a group's options mean for one of its parameters."""
    return Policy(
        group.get("store", "nearest") if p.dtype in HALVES else "nearest",
        group.get("state_dtype") == "bf16",
    )


def check(owner: str, p: Tensor, place: str, group: Mapping[str, Any]) -> None:
    """Refuse what a group's options cannot mean for a parameter; say where they change nothing."""
    store = group.get("store", "nearest")
    if store == "compensated" and p.dtype == torch.float16:
        raise HyperparameterError(
            f"{owner}: store='compensated' needs bfloat16 parameters, got {p.dtype} ({place}): 16 more bits make "
            "float32 numbers of bfloat16 alone, whose exponent is as wide; use store='stochastic'"
        )
    if group.get("state_dtype") == "bf16" and p.is_complex():
        raise HyperparameterError(
            f"{owner}: state_dtype='bf16' needs real parameters, got {p.dtype} ({place}); leave it out in this group"
        )
    if store != "nearest" and p.dtype not in HALVES:
        say_once(
            f"{owner}: store={store!r} changes nothing for {p.dtype} parameters, whose steps are stored exactly",
            place,
        )


class Draws:
    """The random bits of one parameter at one step.

    Args:
        like: the parameter.
        offset: the index of its first element within the whole tensor.
        first, second: its keys, as `hashing.keys` makes them.
    """

    def __init__(self, like: Tensor, offset: int, first: int, second: int) -> None:
        self.index, self.first, self.second = hashing.places(like, offset), first, second

    def __call__(self, slot: int) -> Tensor:
        """16 bits for every element of array ``slot``."""
        return hashing.random16(self.index, self.first, self.second, slot)


def store_stochastic(target: Tensor, value: Tensor, random: Tensor) -> None:
    """Write ``value`` to a 16-bit tensor, rounded to either neighbour, on average to itself."""
    value = value.float()
    if target.dtype == torch.bfloat16:
        rounded = torch.where(value != value, 0x7FC0, (_bits(value) + random) >> 16)
    else:
        rounded = _stochastic_f16(value, random)
    target.copy_(rounded.to(torch.int16).view(target.dtype))


def store_compensated(target: Tensor, remainder: Tensor, value: Tensor) -> None:
    """Write ``value`` to a bfloat16 tensor and the rest of its bits to ``remainder``."""
    bits = torch.where(value != value, 0x7FC00000, _bits(value))
    target.copy_(((bits + 0x8000) >> 16).to(torch.int16).view(torch.bfloat16))
    remainder.copy_(bits.to(torch.int16))


def master(p: Tensor, remainder: Tensor) -> Tensor:
    """The float32 numbers that `store_compensated` was given.

    A zero takes nothing off: only a weight that was set to zero by hand can have a negative remainder.
    """
    upper, lower = p.view(torch.int16).to(torch.int64), remainder.to(torch.int64)
    lower = torch.where(((upper & 0x7FFF) == 0) & (lower < 0), 0, lower)
    return ((upper << 16) + lower).to(torch.int32).view(torch.float32)


def _bits(value: Tensor) -> Tensor:
    """The bits of float32 numbers, as integers from 0 to 2**32 - 1."""
    return value.view(torch.int32).to(torch.int64) & hashing.MASK


def _stochastic_f16(value: Tensor, random: Tensor) -> Tensor:
    """The bits of float16 numbers: 13 bits less above 2**-14, multiples of 2**-24 below."""
    bits = _bits(value)
    size = bits & 0x7FFFFFFF
    normal = (((size + (random >> 3)) >> 13) - (112 << 10)).clamp(max=0x7C00)
    small = torch.where(size < _F16_NORMAL, value.abs(), 0.0)
    tiny = ((small * 2.0**40).to(torch.int64) + random) >> 16
    made = torch.where(size < _F16_NORMAL, tiny, normal) | ((bits >> 16) & 0x8000)
    return torch.where(value != value, 0x7E00, made)

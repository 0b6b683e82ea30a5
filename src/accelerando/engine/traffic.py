"""The model of a step's memory traffic: bytes per element, from the rule itself."""

from dataclasses import dataclass

import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.passes import passes


@dataclass(frozen=True)
class Traffic:
    """Bytes that one step moves for each element of a parameter."""

    read: int
    written: int
    passes: int

    @property
    def total(self) -> int:
        """Bytes moved, read and written together."""
        return self.read + self.written


def traffic(
    rule: Rule,
    parameter: torch.dtype = torch.float32,
    gradient: torch.dtype | None = None,
    state: torch.dtype | None = None,
    surveyed: bool = False,
) -> Traffic:
    """What one step of ``rule`` reads and writes, if every pass goes to memory.

    Args:
        rule: the method.
        parameter: the dtype of the parameter.
        gradient: the dtype of its gradient; the parameter's if None.
        state: the dtype of its buffers; float32, or float64 for a float64 parameter, if None.
        surveyed: whether gradients are read once more before the step, for `max_grad_norm` or `on_nonfinite`.

    Example:
        >>> from accelerando.optim import AdamW
        >>> traffic(AdamW.rules[None]).total
        28
    """
    compute = torch.promote_types(parameter, torch.float32)
    state = state or compute
    size = dict.fromkeys(rule.buffers, state.itemsize)
    size |= {"p": parameter.itemsize, "g": (gradient or parameter).itemsize}
    ways = passes(rule, state == compute)
    read = sum(size[name] for way in ways for name in way.reads) + (size["g"] if surveyed else 0)
    written = sum(size[name] for way in ways for name in way.writes)
    return Traffic(read, written, len(ways) + surveyed)

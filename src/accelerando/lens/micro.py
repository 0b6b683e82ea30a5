"""Micro-batches: how much their gradients differ, which is what the gradient noise scale is made of.

McCandlish, Kaplan, Amodei et al. (2018), arXiv:1812.06162, appendix A.1: with gradients of a small batch (b examples)
and a large one (n·b), E‖g‖² is ‖G‖² + tr Σ/b and ‖G‖² + tr Σ/(n·b). Two equations, two unknowns:
‖G‖² = (n·big − small)/(n − 1) and tr Σ/b = (small − big)/(1 − 1/n); their ratio is the noise scale B = tr Σ/‖G‖²
in micro-batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from accelerando.lens.flat import Block, Memory, flat
from accelerando.lens.sums import Sums, summed


@dataclass(frozen=True)
class Ended:
    """The micro-batches of one step.

    Attributes:
        count: how many.
        parameters: whose gradients were looked at.
        sums: Σ‖·‖² of their gradients, and ‖·‖² of all of it, by parameter.
    """

    count: int
    parameters: list[torch.Tensor]
    sums: Sums

    def table(self) -> dict[int, tuple[float, float]]:
        """Parameter id → mean ‖·‖² of a micro-batch's gradient, and of the whole one's, on one scale.

        This waits for a device.
        """
        table = self.sums.table(self.parameters)
        return {
            id(p): (self.count * small, big) for p, (small, big) in zip(self.parameters, table, strict=True)
        }


class Micro:
    """What the micro-batches of the coming step have added to the gradients, one after another."""

    def __init__(self) -> None:
        self.count = 0
        self._parameters: list[torch.Tensor] = []
        self._before = Memory()
        self._sums = Sums(0, 2)

    def add(self, parameters: Sequence[torch.Tensor]) -> None:
        """A micro-batch has gone backward: sum the squares of what is new in each gradient."""
        if not self.count:
            self._parameters = list(parameters)
            self._before.zero(self._parameters)
            self._sums = Sums(len(self._parameters), 2)
        self.count += 1
        for block, g in self._gradients():
            new = summed(torch.sub(g, block.memory, out=block.memory))
            self._sums.add(block.segments, 0, new, new)
            block.memory.copy_(g)

    def end(self) -> "Ended | None":
        """What the step's micro-batches came to; None for fewer than two. The next one begins a new step."""
        count, self.count = self.count, 0
        if count < 2:
            return None
        for block in self._before.blocks([(i, i) for i in range(len(self._parameters))]):
            whole = summed(block.memory)
            self._sums.add(block.segments, 1, whole, whole)
        return Ended(count, self._parameters, self._sums)

    def _gradients(self) -> Iterator[tuple[Block, torch.Tensor]]:
        grads = {i: p.grad for i, p in enumerate(self._parameters)}
        flats = {i: flat(g) for i, g in grads.items() if g is not None and g.layout == torch.strided}
        for block in self._before.blocks([(i, i) for i in flats]):
            yield block, block.gather(flats.__getitem__)


def noise_scale(pairs: Sequence[tuple[int, float, float]]) -> float | None:
    """B, in micro-batches, from (n, small, big) of one or more steps; numerators and denominators are averaged.

    Returns:
        None without any, or where the estimate of ‖G‖² is not positive: average over more steps.
    """
    signal = sum((n * big - small) / (n - 1) for n, small, big in pairs)
    noise = sum((small - big) / (1 - 1 / n) for n, small, big in pairs)
    return noise / signal if signal > 0 else None

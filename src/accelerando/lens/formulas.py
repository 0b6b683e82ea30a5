"""The elementwise part of known methods: from a gradient and its state to the vectors on the way to a step.

A formula is called block by block with the gradient g, the weights p the step found, and its buffers as the
step left them. A vector comes with a number that it is yet to be multiplied with, which costs no pass over it.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Number = Any
"""A float; or an array, a number for each of several steps, of which no vectors are made."""

Scaled = tuple[torch.Tensor, float]
Vectors = tuple[list[Scaled], Scaled | None]
"""The vectors after each cause, in order; and x, c for which c/x is 1/(√v̂ + ε), where there is such a thing."""


class Formula(Protocol):
    """Equal formulas are run over many tensors at once."""

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """The vectors, and the divisor."""


@dataclass(frozen=True)
class Unknown:
    """Nothing is known of the method."""

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """No vectors."""
        return [], None


def _decayed(g: torch.Tensor, p: torch.Tensor, decay: float) -> list[Scaled]:
    """The gradient with decay added, where decay acts through the gradient."""
    return [(torch.add(g, p, alpha=decay), 1.0)] if decay else []


def _divisor(v: torch.Tensor, eps: float, scale: float = 1.0) -> Scaled:
    """X and c for which c/x is 1/(√(scale·v) + ε)."""
    root = math.sqrt(scale)
    x = v.sqrt()
    return (x.add_(eps / root) if eps else x), 1 / root


@dataclass(frozen=True)
class Sgd:
    """Buffers: the momentum's, if there is one."""

    decay: float
    momentum: float
    nesterov: bool

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """Decay, momentum."""
        vectors = _decayed(g, p, self.decay)
        if buffers:
            g = vectors[-1][0] if vectors else g
            ahead = torch.add(g, buffers[0], alpha=self.momentum) if self.nesterov else buffers[0]
            vectors.append((ahead, 1.0))
        return vectors, None


@dataclass(frozen=True)
class Rms:
    """Buffers: the second moment, the mean if centered, the momentum's if there is one."""

    decay: float
    eps: float
    centered: bool
    momentum: bool

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """Decay, second moment, momentum."""
        vectors = _decayed(g, p, self.decay)
        v = buffers[0]
        if self.centered:
            v = torch.addcmul(v, buffers[1], buffers[1], value=-1)
        x, c = _divisor(v, self.eps)
        vectors.append(((vectors[-1][0] if vectors else g) / x, c))
        if self.momentum:
            vectors.append((buffers[-1], 1.0))
        return vectors, (x, c)


@dataclass(frozen=True)
class Divided:
    """The gradient divided by the root of a second moment: Adagrad, schedule-free Adam. Buffers: that one."""

    decay: Number
    scale: Number
    eps: Number

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """Decay, second moment."""
        vectors = _decayed(g, p, self.decay)
        x, c = _divisor(buffers[0], self.eps, self.scale)
        vectors.append(((vectors[-1][0] if vectors else g) / x, c))
        return vectors, (x, c)


@dataclass(frozen=True)
class Moments:
    """Adam and what descends from it. Buffers: the first moment, and the second where it divides.

    Attributes:
        decay: λ where decay is added to the gradient.
        first: what turns the first buffer into m̂.
        second: what turns the second into v̂; None where nothing is divided.
        eps: ε, as it stands outside the root.
        infinity: whether the second buffer is a maximum that divides as it is.
        inside: λ where decay is added to the direction.
    """

    decay: Number
    first: Number
    second: Number | None
    eps: Number
    infinity: bool
    inside: Number

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """Decay, agreement, second moment, decay."""
        vectors = _decayed(g, p, self.decay)
        vectors.append((buffers[0], self.first))
        divisor = None
        if self.second is not None:
            divisor = (buffers[1], 1.0) if self.infinity else _divisor(buffers[1], self.eps, self.second)
            vectors.append((buffers[0] / divisor[0], self.first * divisor[1]))
        if self.inside:
            u, c = vectors[-1]
            vectors.append((torch.add(u, p, alpha=self.inside / c), c))
        return vectors, divisor

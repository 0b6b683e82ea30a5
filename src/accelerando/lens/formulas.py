"""The elementwise part of known methods: from a gradient and its state to the vectors on the way to a step.

A formula is called block by block with the gradient g, the weights p the step found, and its buffers as the
step left them; it returns the vectors in order and, where the method has such a thing, 1/(√v̂ + ε).
"""

from dataclasses import dataclass
from typing import Protocol

import torch

Vectors = tuple[list[torch.Tensor], torch.Tensor | None]


class Formula(Protocol):
    """Equal formulas are run over many tensors at once."""

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """The vectors after each cause, and the rates."""


@dataclass(frozen=True)
class Unknown:
    """Nothing is known of the method."""

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """No vectors."""
        return [], None


def _decayed(g: torch.Tensor, p: torch.Tensor, decay: float) -> list[torch.Tensor]:
    """The gradient with decay added, where decay acts through the gradient."""
    return [torch.add(g, p, alpha=decay)] if decay else []


def _inverse(v: torch.Tensor, scale: float, eps: float) -> torch.Tensor:
    """1/(√(scale·v) + ε)."""
    root = v.mul(scale).sqrt_() if scale != 1 else v.sqrt()
    return root.add_(eps).reciprocal_()


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
            g = vectors[-1] if vectors else g
            vectors.append(torch.add(g, buffers[0], alpha=self.momentum) if self.nesterov else buffers[0])
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
        rates = _inverse(v, 1.0, self.eps)
        vectors.append((vectors[-1] if vectors else g) * rates)
        if self.momentum:
            vectors.append(buffers[-1])
        return vectors, rates


@dataclass(frozen=True)
class Scaled:
    """The gradient divided by the root of a second moment: Adagrad, schedule-free Adam. Buffers: that one."""

    decay: float
    scale: float
    eps: float

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """Decay, second moment."""
        vectors = _decayed(g, p, self.decay)
        rates = _inverse(buffers[0], self.scale, self.eps)
        vectors.append((vectors[-1] if vectors else g) * rates)
        return vectors, rates


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

    decay: float
    first: float
    second: float | None
    eps: float
    infinity: bool
    inside: float

    def __call__(self, g: torch.Tensor, p: torch.Tensor, *buffers: torch.Tensor) -> Vectors:
        """Decay, agreement, second moment, decay."""
        vectors = _decayed(g, p, self.decay)
        m = buffers[0] * self.first
        vectors.append(m)
        rates = None
        if self.second is not None:
            v = buffers[1]
            rates = v.reciprocal() if self.infinity else _inverse(v, self.second, self.eps)
            vectors.append(m * rates)
        if self.inside:
            vectors.append(torch.add(vectors[-1], p, alpha=self.inside))
        return vectors, rates

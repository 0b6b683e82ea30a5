"""The few functions a schedule's formula may use, for one number, a NumPy array or a torch tensor."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from accelerando.errors import HyperparameterError


class Ops(Protocol):
    """Elementwise functions; every schedule is written once on these."""

    def cos(self, x: Any, /) -> Any:
        """Cosine."""

    def exp(self, x: Any, /) -> Any:
        """Exponential."""

    def log(self, x: Any, /) -> Any:
        """Natural logarithm."""

    def sqrt(self, x: Any, /) -> Any:
        """Square root."""

    def floor(self, x: Any, /) -> Any:
        """The largest whole number that is not above x."""

    def minimum(self, x: Any, y: Any, /) -> Any:
        """The smaller one."""

    def maximum(self, x: Any, y: Any, /) -> Any:
        """The larger one."""

    def where(self, condition: Any, x: Any, y: Any, /) -> Any:
        """``x`` where the condition holds, else ``y``."""

    def power(self, base: float, exponent: Any, /) -> Any:
        """A number to an elementwise power."""


@dataclass(frozen=True)
class Scalar:
    """Python numbers."""

    cos = staticmethod(math.cos)
    exp = staticmethod(math.exp)
    log = staticmethod(math.log)
    sqrt = staticmethod(math.sqrt)
    minimum = staticmethod(min)
    maximum = staticmethod(max)

    @staticmethod
    def floor(x: float) -> float:
        """The largest whole number that is not above x."""
        return float(math.floor(x))

    @staticmethod
    def where(condition: bool, x: float, y: float) -> float:
        """``x`` if the condition holds, else ``y``."""
        return x if condition else y

    @staticmethod
    def power(base: float, exponent: float) -> float:
        """A number to a power."""
        return math.pow(base, exponent)


@dataclass(frozen=True)
class Torch:
    """Tensors, on the device of ``like``."""

    like: torch.Tensor

    cos = staticmethod(torch.cos)
    exp = staticmethod(torch.exp)
    log = staticmethod(torch.log)
    sqrt = staticmethod(torch.sqrt)
    floor = staticmethod(torch.floor)

    def minimum(self, x: Any, y: Any) -> torch.Tensor:
        """The smaller one."""
        return torch.minimum(self._tensor(x), self._tensor(y))

    def maximum(self, x: Any, y: Any) -> torch.Tensor:
        """The larger one."""
        return torch.maximum(self._tensor(x), self._tensor(y))

    def where(self, condition: torch.Tensor, x: Any, y: Any) -> torch.Tensor:
        """``x`` where the condition holds, else ``y``."""
        return torch.where(condition, self._tensor(x), self._tensor(y))

    def power(self, base: float, exponent: torch.Tensor) -> torch.Tensor:
        """A number to an elementwise power."""
        return torch.pow(self._tensor(base), exponent)

    def _tensor(self, value: Any) -> torch.Tensor:
        return value if isinstance(value, torch.Tensor) else torch.full_like(self.like, value)


def steps_and_ops(owner: str, step: Any) -> tuple[Any, Ops]:
    """Steps in double precision with the functions that suit them.

    Raises:
        HyperparameterError: a negative step, or one that is not a number.
    """
    if isinstance(step, (int, float)) and not isinstance(step, bool):
        if not step >= 0 or math.isinf(step):
            raise HyperparameterError(f"{owner}: step must be a finite number of at least 0, got {step!r}")
        return float(step), Scalar()
    if isinstance(step, torch.Tensor):
        if step.dtype == torch.bool or step.is_complex():
            raise HyperparameterError(f"{owner}: steps must be numbers, got a tensor of {step.dtype}")
        steps: Any = step.detach().to(torch.float64)
        lowest = steps.min().item() if steps.numel() else 0.0
        ops: Any = Torch(steps)
    else:
        given = np.asarray(step)
        if given.dtype.kind not in "iuf":
            raise HyperparameterError(f"{owner}: steps must be numbers, got {step!r}")
        steps = given.astype(np.float64)
        lowest = float(steps.min()) if steps.size else 0.0
        ops = np
    if not lowest >= 0:
        raise HyperparameterError(f"{owner}: steps must be at least 0, got {lowest!r} among them")
    return steps, ops

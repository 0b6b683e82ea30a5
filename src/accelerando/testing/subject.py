"""The optimizer under test, and the tensors it is stepped on."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from accelerando.testing.papers import Paper

SHAPES: tuple[tuple[int, ...], ...] = ((4, 3), (5,), (3,), (), (2, 3, 2))
ZERO = 2
"""The place in `SHAPES` of the tensor that starts at zero."""

Gradients = Sequence[Sequence[Tensor | None]]


@dataclass(frozen=True)
class Subject:
    """An optimizer class or factory, with the options it is made with.

    Attributes:
        factory: called as ``factory(params, **options)``.
        name: how the report calls it.
        options: given at every construction.
        paper: the transcription it is held to, or None.
        needs_closure: whether ``step`` must be given one.
    """

    factory: Callable[..., torch.optim.Optimizer]
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: Paper | None = None
    needs_closure: bool = False

    @cached_property
    def signature(self) -> Mapping[str, inspect.Parameter]:
        """The constructor's parameters, by name."""
        return inspect.signature(self.factory).parameters

    @cached_property
    def group(self) -> Mapping[str, Any]:
        """A parameter group as the optimizer makes it, without the parameters."""
        group = self.make([Parameter(torch.ones(2))]).param_groups[0]
        return {name: value for name, value in group.items() if name != "params"}

    @property
    def lr(self) -> float | None:
        """The learning rate in force, or None where it has none."""
        lr = self.group.get("lr")
        return float(lr) if isinstance(lr, (int, float, Tensor)) and float(lr) > 0 else None

    def takes(self, option: str) -> bool:
        """Whether the constructor names this option, or takes any and its groups carry it."""
        anything = any(p.kind is p.VAR_KEYWORD for p in self.signature.values())
        return option in self.signature or (anything and option in self.group)

    def make(self, params: Any, **more: Any) -> torch.optim.Optimizer:
        """An optimizer ready to step; ``more`` goes over the subject's own options."""
        options = {**self.options, **more}
        lr = self.signature.get("lr")
        if lr is not None and lr.default is inspect.Parameter.empty:
            options.setdefault("lr", 1e-2)
        return ready(self.factory(params, **options))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One step, with a closure where one is needed."""
        if self.needs_closure:
            optimizer.step(lambda: torch.tensor(1.0))  # type: ignore[arg-type,return-value]
        else:
            optimizer.step()

    def advance(
        self, optimizer: torch.optim.Optimizer, params: Sequence[Tensor], gradients: Gradients
    ) -> list[Tensor]:
        """Step through ``gradients``; copies of where the parameters end."""
        for step in gradients:
            assign(params, step)
            self.step(optimizer)
        return [p.detach().clone() for p in params]

    def run(self, starts: Sequence[Tensor], gradients: Gradients, **more: Any) -> list[Tensor]:
        """Step copies of ``starts`` through ``gradients`` in one group; where they end."""
        params = parameters(starts)
        return self.advance(self.make(params, **more), params, gradients)


def ready(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Put an optimizer that has modes into the one for training."""
    train = getattr(optimizer, "train", None)
    if callable(train):
        train()
    return optimizer


def starts(dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    """One tensor of each of `SHAPES`; the one at `ZERO` is zero."""
    source = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=source, dtype=torch.float64).to(dtype) for shape in SHAPES]
    tensors[ZERO].zero_()
    return tensors


def gradients(
    steps: int,
    dtype: torch.dtype = torch.float32,
    *,
    seed: int = 1,
    shapes: Iterable[tuple[int, ...]] = SHAPES,
    decay: float = 0.0,
) -> list[list[Tensor]]:
    """Noise around a drift, for each step and shape; ``decay`` makes later ones smaller."""
    source = torch.Generator().manual_seed(seed)
    drifts = [torch.randn(shape, generator=source, dtype=torch.float64) for shape in shapes]
    return [
        [
            ((d + torch.randn(d.shape, generator=source, dtype=torch.float64)) / (1 + decay * t)).to(dtype)
            for d in drifts
        ]
        for t in range(steps)
    ]


def parameters(tensors: Iterable[Tensor]) -> list[Parameter]:
    """Parameters that own copies of ``tensors``."""
    return [Parameter(t.detach().clone()) for t in tensors]


def assign(params: Sequence[Tensor], step: Sequence[Tensor | None]) -> None:
    """Give each parameter a copy of its gradient, or none."""
    for p, g in zip(params, step, strict=True):
        p.grad = None if g is None else g.clone()


def same_bits(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors agree to the last bit, NaNs included."""
    return all(
        a.dtype == b.dtype and torch.equal(_bytes(a), _bytes(b)) for a, b in zip(left, right, strict=True)
    )


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def gap(got: Sequence[Tensor], want: Sequence[Tensor], origin: Sequence[Tensor]) -> float:
    """The largest distance between ``got`` and ``want``, in units of the way from ``origin`` to ``want``."""
    return max(
        float((a.double() - b.double()).norm() / (b.double() - o.double()).norm().clamp_min(1e-300))
        for a, b, o in zip(got, want, origin, strict=True)
    )


def travelled(end: Tensor, start: Tensor) -> float:
    """The length of the way from ``start`` to ``end``."""
    return float((end.detach().double() - start.detach().double()).norm())


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether nothing is NaN or infinite."""
    return all(bool(torch.isfinite(t).all()) for t in tensors)

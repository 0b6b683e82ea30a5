"""The shell: a real `torch.optim.Optimizer` around the pure functions of a rule."""

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from accelerando.engine.fields import check
from accelerando.errors import HyperparameterError


def names_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The argument names by which a rule function asks for its values."""
    return tuple(inspect.signature(function).parameters)


class Optimizer(torch.optim.Optimizer):
    """A method written as pure functions, stepped on tensors; subclass it to write one."""

    buffers: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        hints = typing.get_type_hints(cls, include_extras=True)
        cls.fields = {
            k: a for k, a in hints.items() if typing.get_origin(a) is not ClassVar and hasattr(cls, k)
        }
        cls.fields = {k: a for k, a in cls.fields.items() if k in cls.__annotations__}

    def __init__(self, params: Any, **options: Any) -> None:
        owner = type(self).__name__
        for name in options:
            if name not in self.fields:
                raise HyperparameterError(
                    f"{owner}: unknown option {name!r}; it takes {', '.join(self.fields)}"
                )
        defaults = {name: options.get(name, getattr(type(self), name)) for name in self.fields}
        for name, value in defaults.items():
            check(owner, name, value, self.fields[name])
        super().__init__(params, defaults)

    @staticmethod
    def scalars(*_: Any) -> Any:
        """Numbers made once a step, in float64."""
        return {}

    @staticmethod
    def apply(*_: Any) -> Any:
        """The new parameter."""
        p, u, lr = _
        return p - lr * u

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; ``closure`` is called first, with gradients enabled."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_one(p, types.SimpleNamespace(**group))
        return loss

    def _step_one(self, p: torch.Tensor, h: types.SimpleNamespace) -> None:
        compute = torch.promote_types(p.dtype, torch.float32)
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state.update({name: torch.zeros_like(p, dtype=compute) for name in self.buffers})
        state["step"] += 1
        values: dict[str, Any] = {
            "lr": h.lr,
            "p": p.to(compute),
            "g": torch.as_tensor(p.grad).to(compute),
            "t": int(state["step"]),
            "h": h,
        }
        values |= {name: state[name] for name in self.buffers}
        values |= self.scalars(*(values[k] for k in names_of(self.scalars) if k in values))
        u, *new = self.direction(*(values[k] for k in names_of(self.direction)))  # type: ignore[attr-defined]
        values["u"] = u
        p.copy_(self.apply(*(values[k] for k in names_of(self.apply))))
        for name, value in zip(self.buffers, new, strict=True):
            state[name].copy_(value)

"""The eager backend: runs a rule on tensors, one operation at a time. It is the specification.

Any dtype, any device. Numbers are met in the compute dtype: float32, or float64 for float64 parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from accelerando.engine.anatomy import Rule
from accelerando.engine.grammar import Function
from accelerando.engine.lowering import Dialect, Names, render

Tensor = torch.Tensor
TENSORS = Dialect("number({}, like)")


@cache
def number(value: float, like: torch.dtype) -> Tensor:
    """A scalar of the compute dtype: rounded once, and never a promoter of other values."""
    return torch.tensor(value, dtype=like)


def sign(x: Tensor) -> Tensor:
    """-1, 0, 1, or not a number."""
    return torch.where(x != x, x, torch.sign(x))


_TABLE: dict[str, Callable[..., Any]] = {
    "div": torch.div, "power": torch.pow, "sqrt": torch.sqrt, "exp": torch.exp, "log": torch.log,
    "abs": torch.abs, "sign": sign, "minimum": torch.minimum, "maximum": torch.maximum, "where": torch.where,
    "number": number,
}  # fmt: skip


@cache
def on_tensors(function: Function) -> Callable[..., tuple[Tensor, ...]]:
    """The function on tensors: ``(like, *arguments)`` → its results in order."""
    namespace: dict[str, Any] = dict(_TABLE)
    exec(
        compile(source(function), f"<{function.place} on tensors>", "exec"), namespace
    )  # text of a checked tree
    made: Callable[..., tuple[Tensor, ...]] = namespace[function.name]
    return made


def source(function: Function) -> str:
    """The text of `on_tensors`."""
    names = Names({*function.arguments, "like", *_TABLE})
    lines, results = render(function, {a: a for a in function.arguments}, names, TENSORS)
    lines.append(f"return ({''.join(f'{results[r]}, ' for r in function.results)})")
    text = f"def {function.name}({', '.join(('like', *function.arguments))}):\n"
    return text + "".join(f"    {line}\n" for line in lines)


def compute_dtype(storage: torch.dtype) -> torch.dtype:
    """The dtype that rules compute in and state is kept in."""
    return torch.promote_types(storage, torch.float32)


@dataclass
class Work:
    """One parameter on its way through a step."""

    rule: Rule
    p: Tensor
    g: Tensor
    buffers: dict[str, Tensor]
    row: tuple[float, ...]
    gradient_scale: float
    values: dict[str, Tensor] = field(default_factory=dict)

    def first(self) -> dict[str, float]:
        """Run `direction`; store the buffers; return this tensor's sums."""
        like = compute_dtype(self.p.real.dtype if self.p.is_complex() else self.p.dtype)
        p, g = _real(self.p).to(like), _real(self.g).to(like)
        values = {c: number(v, like) for c, v in zip(self.rule.columns, self.row, strict=True)}
        old = {name: _real(buffer).to(like) for name, buffer in self.buffers.items()}
        g = g * number(self.gradient_scale, like)
        values |= {"p": p, "g": g, **old}
        arguments = self.rule.direction.arguments
        made = on_tensors(self.rule.direction)(like, *(values[a] for a in arguments))
        values |= dict(zip(self.rule.direction.results, made, strict=True))
        values |= {
            name: old[buffer].clone() for name, buffer in self.rule.old.items() if name in self.rule.carried
        }
        for name, buffer in self.buffers.items():
            _real(buffer).copy_(values[name])
        self.values = values
        return {s: float(values[s].double().sum()) for s in self.rule.sums}

    def second(self, decided: Mapping[str, float]) -> None:
        """Run `apply` with what was decided, and store the parameter."""
        like = compute_dtype(_real(self.p).dtype)
        values = self.values | {n: number(v, like) for n, v in decided.items()}
        (new,) = on_tensors(self.rule.apply)(like, *(values[a] for a in self.rule.apply.arguments))
        _real(self.p).copy_(new)
        self.values = {}


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x

"""The options every method has, whatever its rule."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from accelerando.engine.fields import Cap, Seed
from accelerando.errors import BackendWarning

OPTIONS: dict[str, tuple[Any, Any]] = {
    "maximize": (bool, False),
    "max_grad_norm": (Cap, None),
    "on_nonfinite": (Literal["propagate", "skip", "raise"], "propagate"),
    "backend": (Literal[None, "cpu", "cuda", "eager"], None),
    "store": (Literal["nearest", "stochastic", "compensated"], "nearest"),
    "store_seed": (Seed, 0),
    "state_dtype": (Literal[None, "bf16"], None),
    "foreach": (Literal[None, True, False], None),
    "fused": (Literal[None, True, False], None),
    "capturable": (bool, False),
    "differentiable": (bool, False),
}
"""Name → its annotation and its default."""

_said: set[str] = set()


def say_once(message: str, place: str = "") -> None:
    """Warn with `BackendWarning`, once in a process for one message; ``place`` is where it was first met."""
    if message not in _said:
        _said.add(message)
        message += place and f" (first met at {place})"
        warnings.warn(message, BackendWarning, stacklevel=4)


def say_what_runs(owner: str, groups: Iterable[Mapping[str, Any]]) -> None:
    """Answer ``foreach=True`` and ``fused=True``, which choose nothing here."""
    for group in groups:
        for name in ("foreach", "fused"):
            if group.get(name):
                say_once(
                    f"{owner}: {name}=True chooses nothing here; the backend is chosen by device and dtype"
                )

"""Accelerando: what is the learning rate really doing, and can it raise itself?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerando.lens import Lens
    from accelerando.optim import (
        LAMB,
        Accelerando,
        AdaBelief,
        Adam,
        AdamW,
        DAdaptAdam,
        Prodigy,
        RAdam,
        ScheduleFreeAdamW,
        param_groups,
    )

__version__ = "0.1.0"
__all__ = [
    "LAMB", "Accelerando", "AdaBelief", "Adam", "AdamW", "DAdaptAdam", "Lens", "Prodigy", "RAdam",
    "ScheduleFreeAdamW", "__version__", "param_groups",
]  # fmt: skip

_PARTS = ("compare", "engine", "errors", "lens", "optim", "rule", "schedules", "testing")


def __getattr__(name: str) -> Any:
    # On demand, because the command line and the driver of a comparison do without torch.
    if name in _PARTS:
        return import_module(f"accelerando.{name}")
    if name in __all__:
        return getattr(import_module("accelerando.lens" if name == "Lens" else "accelerando.optim"), name)
    raise AttributeError(f"module 'accelerando' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Accelerando: what is the learning rate really doing, and can it raise itself?"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from accelerando.lens import Lens

__version__ = "0.1.0"
__all__ = [
    "LAMB", "Accelerando", "AdaBelief", "Adam", "AdamW", "DAdaptAdam", "Lens", "Prodigy", "RAdam",
    "ScheduleFreeAdamW", "__version__", "param_groups",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "Lens":
        from accelerando.lens import Lens

        return Lens
    raise AttributeError(f"module 'accelerando' has no attribute {name!r}")

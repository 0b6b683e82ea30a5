"""The optimizers: one file, one method; `create` and `list` know them by name."""

from collections.abc import Sequence
from typing import Any

from accelerando.engine import registry
from accelerando.engine.optimizer import Optimizer
from accelerando.optim.accelerando import Accelerando
from accelerando.optim.adabelief import AdaBelief
from accelerando.optim.adam import Adam
from accelerando.optim.adamw import AdamW
from accelerando.optim.dadaptadam import DAdaptAdam
from accelerando.optim.groups import param_groups
from accelerando.optim.lamb import LAMB
from accelerando.optim.prodigy import Prodigy
from accelerando.optim.radam import RAdam
from accelerando.optim.schedulefreeadamw import ScheduleFreeAdamW

__all__ = [
    "LAMB", "Accelerando", "AdaBelief", "Adam", "AdamW", "DAdaptAdam", "Prodigy", "RAdam",
    "ScheduleFreeAdamW", "create", "list", "param_groups",
]  # fmt: skip


def create(name: str, params: Any, **options: Any) -> Optimizer:
    """Make the method called ``name`` (any case) over ``params``.

    Raises:
        HyperparameterError: no method has that name, or an option does not fit it.
    """
    made: Optimizer = registry.find(name)(params, **options)
    return made


def list(pattern: str = "*") -> Sequence[str]:
    """The names of the methods that match ``pattern``, with shell wildcards, in any case.

    Example:
        >>> list("ada*")
        ['AdaBelief', 'Adam', 'AdamW']
    """
    return registry.names(pattern)

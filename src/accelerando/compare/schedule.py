"""The schedules a strategy can name, laid over an optimizer for a known budget.

One table, `SCHEDULES`; a schedule is made for the trial's number of updates, so that ``cosine`` ends where
the training ends, and is stepped after every update.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accelerando.errors import SpecError

if TYPE_CHECKING:
    import torch

CYCLE_FLOOR = 0.01
"""A cycle runs between this share of the rate and the rate."""

PLATEAU_CHECKS = 40
"""How often ``plateau`` looks at the training loss over the budget."""


@dataclass(frozen=True)
class Entry:
    """A schedule that strategies can name.

    Attributes:
        make: (optimizer, steps, options) → something with ``step``.
        note: One sentence for the report, with the options' defaults.
        watches: Whether it reads the training loss.
    """

    make: "Callable[[torch.optim.Optimizer, int, dict[str, Any]], Any]"
    note: str
    watches: bool = False


def _cosine(optimizer: "torch.optim.Optimizer", steps: int, options: dict[str, Any]) -> Any:
    from accelerando.schedules import CosineAnnealingLR

    return CosineAnnealingLR(optimizer, T_max=steps, **options)


def _cyclic(optimizer: "torch.optim.Optimizer", steps: int, options: dict[str, Any]) -> Any:
    from accelerando.schedules import CyclicLR

    cycles = options.pop("cycles", 4)
    tops = [group["lr"] for group in optimizer.param_groups]
    floors = [CYCLE_FLOOR * top for top in tops]
    half = max(1, math.ceil(steps / (2 * cycles)))
    return CyclicLR(optimizer, floors, tops, step_size_up=half, cycle_momentum=False, **options)


def _plateau(optimizer: "torch.optim.Optimizer", steps: int, options: dict[str, Any]) -> Any:
    from accelerando.schedules import ReduceLROnPlateau

    return ReduceLROnPlateau(optimizer, **{"factor": 0.1, "patience": 3, **options})


SCHEDULES: dict[str, Entry] = {
    "cosine": Entry(_cosine, "falls from the rate to 0 over the whole budget along half a cosine"),
    "cyclic": Entry(_cyclic, "triangular cycles (cycles=4) between rate/100 and the rate"),
    "plateau": Entry(
        _plateau,
        f"times factor=0.1 when the mean training loss of 1/{PLATEAU_CHECKS} of the budget has not improved "
        f"on its best for more than patience=3 such windows",
        watches=True,
    ),
}


def entry(name: str) -> Entry:
    """The schedule of that name.

    Raises:
        SpecError: There is none; names those there are.
    """
    if name not in SCHEDULES:
        raise SpecError(f"no schedule is called {name!r}; there are {', '.join(sorted(SCHEDULES))}")
    return SCHEDULES[name]

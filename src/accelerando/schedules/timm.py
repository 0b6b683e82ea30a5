"""A face for training loops written for timm's schedulers."""

from dataclasses import dataclass
from typing import Any, Literal

from accelerando.schedules.checks import choice
from accelerando.schedules.metric import MetricShell
from accelerando.schedules.shell import Shell


@dataclass(frozen=True)
class TimmScheduler:
    """One of our schedulers with timm's two methods; `for_timm` makes it.

    timm's loop tells a scheduler where it is, after every update and after every epoch; the one that the
    scheduler does not count by does nothing, as with timm's own. timm's group key ``lr_scale`` multiplies the
    rate with all our schedulers.
    """

    scheduler: Shell
    per: Literal["update", "epoch"] = "update"

    def __post_init__(self) -> None:
        choice("for_timm", "per", self.per, ("update", "epoch"))

    def step(self, epoch: int, metric: float | None = None) -> None:
        """The end of an epoch; ``metric`` goes to a scheduler that listens to one."""
        if self.per == "epoch":
            self._tell(epoch, metric)

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        """The end of an update."""
        if self.per == "update":
            self._tell(num_updates, metric)

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The scheduler's."""
        self.scheduler.load_state_dict(state_dict)

    def _tell(self, count: int, metric: float | None) -> None:
        if not isinstance(self.scheduler, MetricShell):
            self.scheduler._go(count)
        elif metric is not None:
            self.scheduler.step(metric)


def for_timm(scheduler: Shell, per: Literal["update", "epoch"] = "update") -> TimmScheduler:
    """``scheduler`` for a loop that calls timm's ``step_update`` and ``step``.

    Args:
        scheduler: any of this library.
        per: which of the two calls counts.
    """
    return TimmScheduler(scheduler, per)

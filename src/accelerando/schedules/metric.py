"""`MetricShell`: a scheduler whose factor follows a metric instead of the step."""

import math
import warnings
from abc import abstractmethod
from typing import Any, SupportsFloat

import torch

from accelerando.schedules.checks import whole
from accelerando.schedules.findings import Finding
from accelerando.schedules.shell import Shell


class MetricShell(Shell):
    """A shell that is given a metric now and then: each step, each epoch, or whenever there is one.

    A metric that is not finite is neither better nor worse: it is counted, said once for each streak, and
    left out of the evidence.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, every: int = 1) -> None:
        self._row: list[float] = []
        self.every = whole(type(self).__name__, "every", every)
        self._sum, self._heard = 0.0, 0
        self.not_finite, self._streak = 0, False
        super().__init__(optimizer)

    def _begin(self, fresh: bool) -> None:
        """The rate found is the rate at factor 1; one at 0 may be another scheduler's beginning."""

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take in one value of the metric; the rate follows at once.

        Args:
            metrics: a number or a tensor of one element.
            epoch: the number to go on counting from, as in torch.
        """
        self._hear(metrics)
        self._go(self.last_epoch + 1 if epoch is None else epoch)

    def _hear(self, metrics: SupportsFloat) -> None:
        value = float(metrics)
        if not math.isfinite(value):
            self._not_finite(value)
            return
        self._streak = False
        self._sum += value
        self._heard += 1
        if self._heard == self.every:
            mean, self._sum, self._heard = self._sum / self.every, 0.0, 0
            self._decide(mean)

    def _not_finite(self, value: float) -> None:
        self.not_finite += 1
        if not self._streak:
            self._streak = True
            warnings.warn(
                f"{self._name}: the metric is {value}; it is left out of the evidence, and the rate stays",
                stacklevel=4,
            )

    @abstractmethod
    def _decide(self, reading: float) -> None:
        """Take in the mean of ``every`` metrics and settle the factors."""

    def _own_factor(self, i: int) -> float:
        while len(self._row) <= i:
            self._row.append(1.0)
        return self._row[i]

    def _multiply(self, i: int, by: float) -> None:
        self._row[i] = self._own_factor(i) * by

    def _own_rate(self, i: int) -> float:
        """The rate of group ``i`` without the other schedulers of this library: what limits are held to."""
        return self._ledger.references[i] * self._ledger.outside[i] * self._own_factor(i)

    def _factor_at(self, i: int, step: float) -> float:
        return self._own_factor(i)

    def _length(self, i: int) -> int | None:
        return 1

    def _extra_state(self) -> dict[str, Any]:
        return {
            "row": list(self._row),
            "sum": self._sum,
            "heard": self._heard,
            "not_finite": self.not_finite,
            "streak": self._streak,
        }

    def _load_extra_state(self, state: dict[str, Any]) -> None:
        self._row = list(state["row"])
        self._sum, self._heard = state["sum"], state["heard"]
        self.not_finite, self._streak = state["not_finite"], state["streak"]

    def _extra_findings(self) -> list[Finding]:
        if not self.not_finite:
            return []
        message = f"{self.not_finite} values of the metric were not finite and were left out"
        return [Finding("metric", message)]

"""ReduceLROnPlateau that composes with any schedule."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch.optim import lr_scheduler

from accelerando.schedules.checks import choice, real, whole
from accelerando.schedules.cycles import listed
from accelerando.schedules.findings import Finding
from accelerando.schedules.metric import MetricShell


class ReduceLROnPlateau(MetricShell, lr_scheduler.ReduceLROnPlateau):
    """Cuts its factor when a metric has stopped improving: torch's, step by step, alone or beside a schedule.

    Build it beside any other scheduler of this library, or put it in a `ChainedScheduler`: rates multiply,
    so a warm-up goes on warming up and a cycle goes on cycling under the cut, and no schedule undoes it.
    ``min_lr`` and ``eps`` are held against the rate without the other schedulers, so a cycle's foot does not
    stop a cut.

    Differs: a metric that is NaN or infinite is left out, counted and said, where torch's counts it as a bad
    epoch and cuts; ``every`` makes one reading from the mean of so many values, for a call at each step with
    the training loss.

    Args:
        optimizer: of any library.
        mode: whether lower (``min``) or higher (``max``) is better.
        factor: what a cut multiplies by, in (0, 1).
        patience: bad readings in a row that are let pass.
        threshold: the smallest improvement that counts.
        threshold_mode: ``rel`` (of the best) or ``abs``.
        cooldown: readings after a cut in which nothing is counted as bad.
        min_lr: lowest rate; one, or one for each group.
        eps: a cut smaller than this is not made.
        every: metrics averaged into one reading.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
        *,
        every: int = 1,
    ) -> None:
        owner = "ReduceLROnPlateau"
        self.factor = real(owner, "factor", factor, low=0.0, high=1.0 - 1e-12, above=True)
        self.patience = whole(owner, "patience", patience, least=0)
        self.cooldown = whole(owner, "cooldown", cooldown, least=0)
        self.eps = real(owner, "eps", eps, low=0.0)
        self.threshold = real(owner, "threshold", threshold, low=0.0)
        choice(owner, "mode", mode, ("min", "max"))
        choice(owner, "threshold_mode", threshold_mode, ("rel", "abs"))
        self.min_lrs = listed(owner, "min_lr", optimizer, min_lr)
        self._init_is_better(mode, threshold, threshold_mode)
        self._reset()
        self.cuts = 0
        MetricShell.__init__(self, optimizer, every)

    step = MetricShell.step  # type: ignore[assignment]
    load_state_dict = MetricShell.load_state_dict

    def _reset(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def _decide(self, reading: float) -> None:
        if self._is_better(reading, self.best):  # type: ignore[no-untyped-call]
            self.best, self.num_bad_epochs = reading, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            self.cuts += 1
            self._ledger.observe(self.optimizer)
            for i in range(self._groups):
                self._cut(i)

    def _cut(self, i: int) -> None:
        old = self._own_rate(i)
        new = max(old * self.factor, self.min_lrs[min(i, len(self.min_lrs) - 1)])
        if old - new > self.eps:
            self._multiply(i, self.factor if new == old * self.factor else new / old)

    def _extra_state(self) -> dict[str, Any]:
        kept = ("best", "cooldown_counter", "num_bad_epochs", "cuts")
        return {**super()._extra_state(), **{name: getattr(self, name) for name in kept}}

    def _load_extra_state(self, state: dict[str, Any]) -> None:
        super()._load_extra_state(state)
        self.best, self.cuts = state["best"], state["cuts"]
        self.cooldown_counter, self.num_bad_epochs = state["cooldown_counter"], state["num_bad_epochs"]

    def _load_torch(self, state: dict[str, Any]) -> None:
        super()._load_torch(state)
        self.best, self.num_bad_epochs = float(state["best"]), state["num_bad_epochs"]
        self.cooldown_counter = state["cooldown_counter"]

    def _extra_findings(self) -> list[Finding]:
        factor = self._own_factor(0)
        text = f"{self.cuts} cuts so far; the factor is {factor:.4g}, the best metric {self.best:.6g}"
        return [*super()._extra_findings(), Finding("metric", text, factor=factor)]

"""RaiseOnProgress: a rate that is raised while that helps, and taken back where it does not."""

import math
from collections.abc import Sequence
from typing import Any, Literal, SupportsFloat

import torch

from accelerando.errors import HyperparameterError
from accelerando.schedules.checks import choice, real, whole
from accelerando.schedules.cycles import listed
from accelerando.schedules.findings import Finding
from accelerando.schedules.guard import Guard
from accelerando.schedules.metric import MetricShell


class RaiseOnProgress(MetricShell):
    """Raises its factor on sure progress, and keeps a raise only if progress is then faster.

    The opposite of `ReduceLROnPlateau`, for a rate that may be far too small. Every raise is a trial: it is
    taken back if progress does not become faster, at once if the metric jumps up or is not finite, and later
    if the metric surely gets worse. What is taken back is the factor; the weights stay where the trial has
    brought them. Give it the training loss at each step, or any metric whenever there is one; it needs at
    least ``window`` readings for each decision, so an epoch's validation loss will rarely be enough.

    What it cannot do: see progress that is smaller than the noise, or tell a rate that is best now from one
    that is best in the end. ``benchmarks/results/schedules/raise.md`` says what it does on the bundled tasks.

    Args:
        optimizer: of any library.
        mode: whether lower (``min``) or higher (``max``) is better.
        growth: what one raise multiplies by, above 1.
        window: readings of the shortest look, at least 8.
        sure: standard errors of a slope that count as evidence, above 0.
        max_factor: its factor never goes above this.
        max_lr: nor does the rate without the other schedulers; one, or one for each group.
        every: metrics averaged into one reading.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        mode: Literal["min", "max"] = "min",
        growth: float = 4.0,
        window: int = 32,
        sure: float = 2.0,
        max_factor: float = 1000.0,
        max_lr: float | Sequence[float] | None = None,
        *,
        every: int = 1,
    ) -> None:
        owner = "RaiseOnProgress"
        self.mode = choice(owner, "mode", mode, ("min", "max"))
        self.growth = real(owner, "growth", growth, low=1.0, above=True)
        self.max_factor = real(owner, "max_factor", max_factor, low=1.0)
        self.max_lrs = None if max_lr is None else listed(owner, "max_lr", optimizer, max_lr)
        if self.max_lrs is not None:
            for i, (limit, group) in enumerate(zip(self.max_lrs, optimizer.param_groups, strict=True)):
                if limit < float(group["lr"]):
                    raise HyperparameterError(
                        f"{owner}: max_lr must be at least the rate it begins with, {float(group['lr'])!r}, "
                        f"got {limit!r} (group {i})"
                    )
        sound = real(owner, "sure", sure, low=0.0, above=True)
        self.guard = Guard(whole(owner, "window", window, least=8), sound)
        self.events: list[tuple[int, str, float]] = []
        self._readings = 0
        self._raised: list[list[float]] = []
        super().__init__(optimizer, every)

    def _hear(self, metrics: SupportsFloat) -> None:
        if not math.isfinite(float(metrics)) and self.guard.on_trial:
            self._settle(self.guard.hear(float(metrics), False))
        super()._hear(metrics)

    def _decide(self, reading: float) -> None:
        self._readings += 1
        self._ledger.observe(self.optimizer)
        falling = reading if self.mode == "min" else -reading
        self._settle(self.guard.hear(falling, any(by > 1.0 for by in self._room())))

    def _room(self) -> list[float]:
        """What the next raise multiplies each group by."""
        return [min(self.growth, max(1.0, self._limit(i) / self._own_factor(i))) for i in range(self._groups)]

    def _limit(self, i: int) -> float:
        base = self._ledger.references[i] * self._ledger.outside[i]
        if self.max_lrs is None or not base:
            return self.max_factor
        return min(self.max_factor, self.max_lrs[min(i, len(self.max_lrs) - 1)] / base)

    def _settle(self, verdict: str | None) -> None:
        if verdict is None:
            return
        if verdict == "raise":
            raised = self._room()
            self._raised.append(raised)
        else:
            raised = self._raised.pop() if verdict in ("undo", "retreat") and self._raised else []
            raised = [1.0 / by for by in raised]
        for i, by in enumerate(raised):
            self._multiply(i, by)
        self.events.append((self._readings, verdict, self._own_factor(0)))

    def _extra_state(self) -> dict[str, Any]:
        return {
            **super()._extra_state(),
            "guard": self.guard.state(),
            "events": [list(event) for event in self.events],
            "readings": self._readings,
            "raised": [list(raised) for raised in self._raised],
        }

    def _load_extra_state(self, state: dict[str, Any]) -> None:
        super()._load_extra_state(state)
        self.guard = Guard.of(state["guard"])
        self.events = [(count, verdict, factor) for count, verdict, factor in state["events"]]
        self._readings = state["readings"]
        self._raised = [list(raised) for raised in state["raised"]]

    def _extra_findings(self) -> list[Finding]:
        tally = {kind: sum(event[1] == kind for event in self.events) for kind in ("raise", "keep", "undo")}
        factor = self._own_factor(0)
        text = (
            f"{tally['raise']} raises tried, {tally['keep']} kept, {tally['undo']} taken back in "
            f"{self._readings} readings; the factor is {factor:.4g}, the ceiling {self._limit(0):.4g}"
        )
        return [*super()._extra_findings(), Finding("metric", text, factor=factor)]

"""One trial: train a task with a strategy at a rate and a seed, and report what became of it."""

import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from accelerando.compare.assemble import Stepper, build, find
from accelerando.compare.pace import due, evenly
from accelerando.compare.records import Outcome, Trial
from accelerando.compare.resolve import Resolved, place_of
from accelerando.compare.strategy import parse
from accelerando.errors import TaskError
from accelerando.lens.measure import Measure, Reading, measure, rise_of

if TYPE_CHECKING:
    from accelerando.compare.task import Task

LOSSES = 100
"""How many training losses are kept."""


class Diverged(Exception):
    """A loss stopped being finite after training had begun."""


def run(trial: Trial, resolved: Resolved) -> Outcome:
    """Train, evaluate and measure. What the task or the optimizer raises is the outcome."""
    session = _Session(trial, resolved.task)
    try:
        session.train()
    except Diverged as gone:
        return session.outcome("diverged", message=str(gone))
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # SystemExit too: a user's sys.exit is the trial's error
        place = place_of(error.__traceback__, resolved.folder or _source(resolved.task))
        text = error.args[0] if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
        return session.outcome("error", message=str(text), place=place, trace=traceback.format_exc())
    return session.outcome("done")


class _Session:
    """The state of one training run."""

    def __init__(self, trial: Trial, task: "Task") -> None:
        self.trial, self.task = trial, task
        self.device = torch.device(trial.device)
        self.evals: list[tuple[int, dict[str, float]]] = []
        self.losses: list[tuple[int, float]] = []
        self.lens: Measure | None = None
        self.seconds = 0.0

    def train(self) -> None:
        trial, task = self.trial, self.task
        torch.manual_seed(trial.seed)
        model = task.model()
        if not isinstance(model, torch.nn.Module):
            raise TaskError(f"{task.name}: model() must return a torch.nn.Module, got {type(model).__name__}")
        model.to(self.device)
        strategy = parse(trial.strategy)
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            raise TaskError(
                f"{task.name}: the model has no parameters to train; model() must return one with some"
            )
        optimizer, steppers = build(strategy, find(strategy), parameters, trial.rate, trial.steps)
        torch.manual_seed(trial.seed)
        if trial.readings:
            self.lens = measure(optimizer, every=None)
        try:
            self.evaluate(model, optimizer, 0)
            self.loop(model, optimizer, steppers)
        finally:
            if self.lens is not None:
                self.lens.close()

    def loop(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, steppers: list[Stepper]) -> None:
        task, steps = self.task, self.trial.steps
        stops = {round(steps * k / self.trial.evals) for k in range(1, self.trial.evals + 1)} | {steps}
        every = max(1, steps // LOSSES)
        widest = evenly(steps, self.trial.readings) if self.lens is not None else 0
        batches, here = iter(task.batches(self.trial.seed)), self.device.type == "cpu"
        model.train()
        started = perf_counter()
        for step in range(1, steps + 1):
            batch = next(batches, None)
            if batch is None:
                raise self.ended(step)
            if not here:
                batch = tuple(tensor.to(self.device, non_blocking=True) for tensor in batch)
            optimizer.zero_grad(set_to_none=True)
            loss = task.loss(model, batch)
            if step == 1:
                self.check(loss)
            loss.backward()  # type: ignore[no-untyped-call]
            if self.lens is not None and due(step, widest):
                with self.lens.at(step):
                    optimizer.step()
            else:
                optimizer.step()
            for stepper in steppers:
                stepper(loss)
            if step % every == 0 or step == 1:
                self.note(step, loss)
            if step in stops:
                self.synchronize()
                self.seconds += perf_counter() - started
                self.evaluate(model, optimizer, step)
                started = perf_counter()

    def ended(self, step: int) -> TaskError:
        """There was no batch for that step."""
        return TaskError(
            f"{self.task.name}: batches({self.trial.seed}) ended after {step - 1} of {self.trial.steps} "
            f"updates; make it endless (while True: yield …), or ask for --steps {max(1, step - 1)}"
        )

    def check(self, loss: Any) -> None:
        """The first loss tells whether the task can be trained at all."""
        name = self.task.name
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            got = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise TaskError(f"{name}: loss must return one number as a tensor, got {got}; take its mean")
        if not loss.requires_grad:
            raise TaskError(f"{name}: the loss does not depend on the model's parameters; was it detached?")
        if not math.isfinite(loss.item()):
            raise TaskError(
                f"{name}: the training loss is {loss.item()} on the first batch, before any update, so no "
                f"strategy is to blame; look at the data and at the model's initialization"
            )

    def note(self, step: int, loss: torch.Tensor) -> None:
        value = loss.item()
        self.losses.append((step, value))
        if not math.isfinite(value):
            raise Diverged(f"the training loss is {value} at update {step}")

    def evaluate(self, model: torch.nn.Module, optimizer: Any, step: int) -> None:
        """Held-out metrics, off the clock and without touching the random state."""
        with _held_out(model, optimizer, self.device):
            found = self.task.evaluate(model)
        metrics = _numbers(found, self.task.name)
        self.evals.append((step, metrics))
        loss = metrics["loss"]
        if math.isfinite(loss):
            return
        if step == 0:
            raise TaskError(
                f"{self.task.name}: the held-out loss is {loss} before the first update, so no strategy "
                f"is to blame; look at evaluate() and at the held-out data"
            )
        raise Diverged(f"the held-out loss is {loss} at update {step}")

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def outcome(self, status: Any, *, message: str = "", place: str = "", trace: str = "") -> Outcome:
        readings = self.lens.readings if self.lens is not None else ()
        return Outcome(
            trial=self.trial,
            status=status,
            final=self.evals[-1][1] if self.evals else {},
            evals=tuple(self.evals),
            losses=tuple(self.losses),
            rates=tuple((r.step, r.nominal, r.gain, r.alignment, r.effective) for r in readings),
            rise=_own_rise(readings, scheduled=bool(parse(self.trial.strategy).schedules)),
            seconds=self.seconds,
            message=message,
            place=place,
            traceback=trace,
        )


def _own_rise(readings: Sequence[Reading], scheduled: bool) -> tuple[int, float] | None:
    """The largest rise that no schedule asked for, wherever it is in the run and whether or not it lasts.

    Where there is a schedule, of the gain per nominal rate. Without one, a nominal rate that rises was raised
    by the optimizer itself, and counts.
    """
    if not scheduled:
        return rise_of(readings)
    return rise_of([replace(r, gain=r.gain / r.nominal, nominal=1.0) for r in readings if r.nominal > 0])


@contextmanager
def _held_out(model: torch.nn.Module, optimizer: Any, device: torch.device) -> Iterator[None]:
    """Evaluation's conditions: model and averaging optimizer in ``eval`` mode, random state put back."""
    modes = [part for part in (model, optimizer) if callable(getattr(part, "eval", None))]
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    for part in modes:
        part.eval()
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        yield
    for part in modes:
        part.train()


def _numbers(found: Any, name: str) -> dict[str, float]:
    if not isinstance(found, Mapping) or "loss" not in found:
        got = sorted(found) if isinstance(found, Mapping) else type(found).__name__
        raise TaskError(f"{name}: evaluate must return a mapping with 'loss' in it, got {got}")
    try:
        return {str(key): float(found[key]) for key in sorted(found, key=str)}
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"{name}: evaluate must return numbers: {error}; return float(value) for each"
        ) from error


def _source(task: "Task") -> Path:
    import inspect

    return Path(inspect.getfile(type(task))).parent

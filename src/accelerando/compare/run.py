"""The driver: keeps the executor busy with what the plan wants, and writes down what comes back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from accelerando.compare import plan
from accelerando.compare.executor import Executor, Job, Result
from accelerando.compare.records import Experiment, Outcome, Trial, not_run
from accelerando.compare.store import Store
from accelerando.errors import TaskError

RETRIES = 5
"""How often a trial is tried again after its worker was killed."""

HOPELESS = 6
"""So many trials failing at one place, and none succeeding, are the task's fault."""


@dataclass(frozen=True)
class Progress:
    """How far the experiment is.

    Attributes:
        done: Trials recorded, those of earlier runs included.
        total: Trials that will be needed, as far as is known.
        resumed: Trials that earlier runs had recorded.
        seconds: Since this run began.
        best: Strategy, rate and held-out loss of the best trial so far.
        notice: Something that the user should read; empty otherwise.
    """

    done: int
    total: int
    resumed: int
    seconds: float
    best: tuple[str, float | None, float] | None
    notice: str = ""

    @property
    def left(self) -> float | None:
        """Seconds left at the pace so far; None before anything was done."""
        mine = self.done - self.resumed
        return self.seconds / mine * (self.total - self.done) if mine else None


Watch = Callable[[Progress], None]


class Driver:
    """One run of an experiment over a store.

    Args:
        experiment: What to do.
        reference: What finds its task: a bundled name, or an absolute ``FILE.py:FUNCTION``.
        store: Where it is written; open.
        watch: Told of every trial.
    """

    def __init__(self, experiment: Experiment, reference: str, store: Store, watch: Watch) -> None:
        self.experiment = experiment
        self._reference = reference
        self._store = store
        self._watch = watch
        self._known: dict[str, Outcome] = {}
        self._running: dict[str, Trial] = {}
        self._courses: dict[str, plan.Course] = {}
        self._resumed = 0
        self._best: tuple[str, float | None, float] | None = None
        self._began = monotonic()
        for strategy in experiment.strategies:
            self._advance(strategy)
        self._resumed = len(self._known)

    @property
    def progress(self) -> Progress:
        """How far this run is."""
        fresh = len(self.experiment.fresh_seeds)
        waiting = [c for c in self._courses.values() if c.wanted and all(t.phase == "tune" for t in c.wanted)]
        undecided = [c for c in waiting if any(trial.id not in self._known for trial in c.wanted)]
        total = sum(len(c.wanted) for c in self._courses.values()) + fresh * len(undecided)
        return Progress(len(self._known), total, self._resumed, monotonic() - self._began, self._best)

    def recorded(self) -> tuple[Experiment, list[Outcome]]:
        """The experiment with its choices, and the outcomes that belong to it, in the plan's order."""
        return assembled(self.experiment, self._known)

    def missing(self) -> list[Trial]:
        """What is still to be run, as far as is known."""
        return [trial for trial in plan.interleaved(self._courses) if trial.id not in self._known]

    def check(self) -> None:
        """Look whether everything fails alike.

        Raises:
            TaskError: Every trial recorded ended in the same error, so it is the task's.
        """
        messages = {outcome.message if outcome.status == "error" else "" for outcome in self._known.values()}
        if len(messages) == 1 and "" not in messages:
            first = next(iter(self._known.values()))
            raise TaskError(
                f"every trial fails alike, at {first.place or 'an unknown place'}: {first.message}\n"
                f"Mend the task and run the same command again: a changed task starts afresh; with\n"
                f"--retry-errors an unchanged one is tried again"
            )

    def run(self, executor: Executor) -> None:
        """Run until nothing is missing.

        Raises:
            TaskError: The task breaks whatever the strategy, or has changed.
            StoreError: Records cannot be written.
        """
        self._say()
        while True:
            self._feed(executor)
            if not self._running:
                return
            for result in executor.wait(1.0):
                self._take(result, executor)
            self._store.renew()

    def _feed(self, executor: Executor) -> None:
        free = executor.slots - len(self._running)
        if free <= 0:
            return
        ready = [trial for trial in self.missing() if trial.id not in self._running]
        for trial in ready[:free]:
            self._store.begin(trial)
            self._submit(trial, executor)

    def _submit(self, trial: Trial, executor: Executor) -> None:
        self._running[trial.id] = trial
        executor.submit(Job(trial.id, trial.to_json(), self._reference))

    def _take(self, result: Result, executor: Executor) -> None:
        trial = self._running.pop(result.id)
        if result.stop:
            raise TaskError(result.stop)
        if result.outcome is not None:
            self._note(Outcome.from_json(result.outcome))
            return
        losses = self._store.lost(trial)
        if not result.blame and losses <= RETRIES:
            self._say(
                f"{trial.strategy} at {trial.rate}: {result.reason}; tried again ({losses} of {RETRIES})"
            )
            self._submit(trial, executor)
            return
        way_out = "look for exit() in the task" if result.blame else "it may want more memory than there is"
        times = "" if result.blame else f" {losses} times"
        self._note(Outcome(trial, "error", message=f"{result.reason}{times}; {way_out}"))

    def _note(self, outcome: Outcome) -> None:
        self._store.record(outcome)
        trial = outcome.trial
        self._known[trial.id] = outcome
        self._weigh(outcome)
        self._advance(next(s for s in self.experiment.strategies if s["name"] == trial.strategy))
        self._say()
        if len(self._known) >= HOPELESS:
            self.check()

    def _advance(self, strategy: Mapping[str, Any]) -> None:
        """Bring one strategy's course up to date, reading what earlier runs have recorded."""
        while True:
            course = plan.course(self.experiment, strategy, self._known)
            self._courses[strategy["name"]] = course
            unread = [t for t in course.wanted if t.id not in self._known and t.id not in self._running]
            found = [outcome for trial in unread if (outcome := self._store.outcome(trial)) is not None]
            if not found:
                return
            self._known |= {outcome.trial.id: outcome for outcome in found}
            for outcome in found:
                self._weigh(outcome)

    def _weigh(self, outcome: Outcome) -> None:
        if outcome.status == "done" and (self._best is None or outcome.final["loss"] < self._best[2]):
            self._best = (outcome.trial.strategy, outcome.trial.rate, outcome.final["loss"])

    def _say(self, notice: str = "") -> None:
        self._watch(replace(self.progress, notice=notice))


def assembled(experiment: Experiment, known: Mapping[str, Outcome]) -> tuple[Experiment, list[Outcome]]:
    """The experiment with what its tuning seeds chose, and its own outcomes among those known, in order."""
    courses = {s["name"]: plan.course(experiment, s, known) for s in experiment.strategies}
    wanted = plan.interleaved(courses)
    mine = [known[trial.id] for trial in wanted if trial.id in known]
    return plan.settle(experiment, courses), [*mine, *not_run(experiment)]

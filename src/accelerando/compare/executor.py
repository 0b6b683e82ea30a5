"""What runs trials: the protocol that every executor meets, in data alone.

A `Job` and a `Result` hold nothing but JSON's words, so an executor may be another process, another machine
or another library's scheduler. It writes no records: only the driver does.
"""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """A trial to be run.

    Attributes:
        id: The trial's.
        trial: `Trial.to_json`.
        task: What finds the task again: a bundled name, or an absolute ``FILE.py:FUNCTION``.
    """

    id: str
    trial: dict[str, Any]
    task: str


@dataclass(frozen=True)
class Result:
    """What came back for a job.

    Attributes:
        id: The trial's.
        outcome: `Outcome.to_json`; None if whatever ran it died.
        reason: Of what it died.
        blame: Whether the death is the trial's own doing (it ended its process) and not worth another try.
        stop: Why no trial of this task can be run; empty if there is no such reason.
    """

    id: str
    outcome: dict[str, Any] | None
    reason: str = ""
    blame: bool = False
    stop: str = ""


class Executor(Protocol):
    """Runs jobs in any order."""

    slots: int
    """How many jobs to keep submitted: those that run, and those that wait so that nothing stands idle."""

    def submit(self, job: Job) -> None:
        """Take a job; never more than `slots` at a time."""

    def wait(self, seconds: float) -> list[Result]:
        """What has finished, waiting for at least one result but no longer than ``seconds``."""

    def close(self) -> None:
        """Stop everything, what is running included."""

"""The local executor: spawned worker processes, one trial at a time each."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from accelerando import errors
from accelerando.compare.executor import Job, Result
from accelerando.compare.records import canonical
from accelerando.errors import TaskError

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
DEATHS = 6
"""How many workers may be killed while planning, as many as at one trial, before that is the task's doing."""


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    job: Job | None = None
    read: bytearray = field(default_factory=bytearray)


class Local:
    """Worker processes on this machine.

    Args:
        workers: How many.
        log: A folder for what the user's code prints, one file a worker; None leaves it on standard error
            until `log_to` says where.
        devices: How many accelerators to share among the workers; 0 for none.
    """

    def __init__(self, workers: int, log: Path | None, devices: int = 0) -> None:
        self.slots = 2 * workers  # a worker that is done gets its next trial before its last is written down
        self._log: Path | None = None
        self._devices = devices
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[Job] = deque()
        self._workers: list[_Worker] = []
        if log is not None:
            self.log_to(log)
        for number in range(workers):
            self._workers.append(self._spawn(number))

    def log_to(self, folder: Path) -> None:
        """From now on what the user's code prints goes to a file for each worker in that folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder
        for number, worker in enumerate(self._workers):
            _send(worker, {"log": str(folder.resolve() / _log_of(number))})

    def plan(self, words: dict[str, Any]) -> dict[str, Any]:
        """Have a worker make a spec into a plan; both in JSON's words, as `worker.plan` has them.

        Raises:
            SpecError: It cannot be meant.
            TaskError: Its task cannot be loaded.
        """
        answer: dict[str, Any] | None = None
        for death in range(1, DEATHS + 1):
            worker = self._workers[0]
            _send(worker, {"plan": words})
            answer = _line(worker)
            if answer is not None:
                break
            status = worker.process.wait()
            self._buried(0)
            if status >= 0 or death == DEATHS:  # it left by itself, or whatever kills it does not stop
                cause = _cause(status, "while the task was loaded")
                raise TaskError(f"{words['task']}: {cause}; look at what loading it does")
        if answer is None:
            raise AssertionError(words["task"])
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["text"])
        made: dict[str, Any] = answer["plan"]
        return made

    def submit(self, job: Job) -> None:
        """Take a job; an idle worker starts it now."""
        self._waiting.append(job)
        self._hand_out()

    def wait(self, seconds: float) -> list[Result]:
        """What has finished, waiting for at least one result but no longer than ``seconds``."""
        results: list[Result] = []
        for key, _ in self._selector.select(seconds):
            results += self._hear(key.data)
        self._hand_out()
        return results

    def close(self) -> None:
        """Close the workers' pipes, which ends them, and see them gone; a second time there is nothing left."""
        workers, self._workers = self._workers, []
        for worker in workers:
            with suppress(OSError):
                _pipe(worker.process.stdin).close()
        for worker in workers:
            try:
                worker.process.wait(5)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            _pipe(worker.process.stdout).close()
        self._selector.close()

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _hand_out(self) -> None:
        for worker in self._workers:
            if worker.job is None and self._waiting:
                worker.job = self._waiting.popleft()
                _send(worker, {"id": worker.job.id, "trial": worker.job.trial, "task": worker.job.task})

    def _hear(self, number: int) -> list[Result]:
        worker = self._workers[number]
        piece = os.read(_pipe(worker.process.stdout).fileno(), 1 << 20)
        if not piece:
            return self._buried(number)
        worker.read += piece
        *lines, rest = worker.read.split(b"\n")
        worker.read = bytearray(rest)
        if lines:
            worker.job = None
        return [Result(words["id"], words["outcome"], stop=words["stop"]) for words in map(json.loads, lines)]

    def _buried(self, number: int) -> list[Result]:
        """Take a dead worker out, put a new one in, and say what was lost."""
        worker = self._workers[number]
        status = worker.process.wait()
        self._selector.unregister(_pipe(worker.process.stdout))
        for pipe in (worker.process.stdin, worker.process.stdout):
            with suppress(OSError):
                _pipe(pipe).close()
        self._workers[number] = self._spawn(number)
        if worker.job is None:
            return []
        return [Result(worker.job.id, None, _cause(status), blame=status > 0)]

    def _spawn(self, number: int) -> _Worker:
        surroundings = {**os.environ, **_ONE_THREAD}
        if self._devices:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(self._devices)))).split(
                ","
            )
            surroundings["CUDA_VISIBLE_DEVICES"] = visible[number % self._devices]
        with ExitStack() as stack:
            log: IO[bytes] | None = None
            if self._log is not None:
                log = stack.enter_context((self._log / _log_of(number)).open("ab"))
            process = subprocess.Popen(
                [sys.executable, "-m", "accelerando.compare.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=surroundings,
                start_new_session=True,  # Ctrl-C is for the driver, which then closes the pipes
            )
        self._selector.register(_pipe(process.stdout), selectors.EVENT_READ, number)
        return _Worker(process)


def _line(worker: _Worker) -> dict[str, Any] | None:
    """The next thing that a worker says; None if it dies first."""
    while b"\n" not in worker.read:
        piece = os.read(_pipe(worker.process.stdout).fileno(), 1 << 20)
        if not piece:
            return None
        worker.read += piece
    said: dict[str, Any] = json.loads(worker.read)
    worker.read.clear()
    return said


def _send(worker: _Worker, words: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # it died idle: its closed output tells, and what was sent is lost to it
        _pipe(worker.process.stdin).write((canonical(words) + "\n").encode())
        _pipe(worker.process.stdin).flush()


def _log_of(number: int) -> str:
    return f"worker-{number}.log"


def _cause(status: int, when: str = "during the trial") -> str:
    if status >= 0:
        return f"the worker process ended itself with status {status} {when}"
    return f"the worker process was killed by {signal.Signals(-status).name}"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # every worker is started with both pipes
    return pipe

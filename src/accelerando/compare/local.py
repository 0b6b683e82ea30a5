"""The local executor: spawned worker processes, one trial at a time each."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from accelerando.compare.executor import Job, Result
from accelerando.compare.records import canonical

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    job: Job | None = None
    read: bytearray = field(default_factory=bytearray)


class Local:
    """Worker processes on this machine.

    Args:
        workers: How many.
        log: A folder for what the user's code prints, one file a worker.
        devices: How many accelerators to share among the workers; 0 for none.
    """

    def __init__(self, workers: int, log: Path, devices: int = 0) -> None:
        self.slots = 2 * workers  # a worker that is done gets its next trial before its last is written down
        self._log = log
        self._devices = devices
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[Job] = deque()
        log.mkdir(parents=True, exist_ok=True)
        self._workers = [self._spawn(number) for number in range(workers)]

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
        """Close the workers' pipes, which ends them, and see them gone."""
        for worker in self._workers:
            with suppress(OSError):
                _pipe(worker.process.stdin).close()
        for worker in self._workers:
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
                line = (
                    canonical({"id": worker.job.id, "trial": worker.job.trial, "task": worker.job.task})
                    + "\n"
                )
                with suppress(
                    BrokenPipeError
                ):  # it died idle: its closed output tells, and the job is lost to it
                    _pipe(worker.process.stdin).write(line.encode())
                    _pipe(worker.process.stdin).flush()

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
        with (self._log / f"worker-{number}.log").open("ab") as log:
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


def _cause(status: int) -> str:
    if status >= 0:
        return f"the worker process ended itself with status {status} during the trial"
    return f"the worker process was killed by {signal.Signals(-status).name}"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # every worker is started with both pipes
    return pipe

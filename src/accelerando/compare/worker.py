"""The worker: reads jobs from standard input, one JSON object a line, and answers on standard output.

It is spawned, never forked, and nothing in it is pickled: a job names its task. It ends as soon as standard
input closes, in the middle of a trial if need be, so a driver that was killed leaves nothing running. What
the user's code prints goes to the log.

Three kinds of line: ``{"log": PATH}``, where printing goes from now on; ``{"plan": SPEC}``, answered with a
plan; and a trial, answered with its outcome.
"""

import gc
import json
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any

from accelerando.compare.records import Trial, written
from accelerando.errors import AccelerandoError, TaskError

_TASKS: dict[str, Any] = {}


def execute(trial: dict[str, Any], task: str) -> dict[str, Any]:
    """Run a trial, given and answered in JSON's words.

    Raises:
        TaskError: The task cannot be loaded here, or is not the one that was asked for.
    """
    import torch

    torch.set_num_threads(1)
    asked = Trial.from_json(trial)
    resolved = _resolved(task)
    if resolved.hash != asked.task_hash:
        raise TaskError(f"{asked.task} has changed since the comparison began; run the same command again")
    from accelerando.compare.trial import run

    return run(asked, resolved).to_json()


def plan(words: dict[str, Any]) -> dict[str, Any]:
    """Make a spec, given in JSON's words, into the plan that it stands for, in them too.

    Raises:
        SpecError: It cannot be meant.
        TaskError: Its task cannot be loaded.
    """
    from accelerando.compare import spec

    asked = spec.made(words)
    resolved = _resolved(asked.task)
    _TASKS[resolved.reference] = resolved
    return {"experiment": spec.experiment(asked, resolved).to_json(), "reference": resolved.reference}


def main() -> None:
    """Serve until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    _warm()
    while True:
        words = json.loads(lines.get())
        if "log" in words:
            _print_to(words["log"])
            continue
        answers.write(written(_planned(words) if "plan" in words else _executed(words)) + "\n")
        answers.flush()
        sys.stdout.flush()


def _executed(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"id": job["id"], "outcome": execute(job["trial"], job["task"]), "stop": ""}
    except TaskError as error:
        return {"id": job["id"], "outcome": None, "stop": str(error)}


def _planned(words: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"plan": plan(words["plan"])}
    except AccelerandoError as error:
        return {"error": type(error).__name__, "text": str(error)}


def _resolved(task: str) -> Any:
    from accelerando.compare.resolve import resolve

    if task not in _TASKS:
        _TASKS[task] = resolve(task)
    return _TASKS[task]


def _warm() -> None:
    """Import while nothing is asked yet; the first optimizer of a process imports torch's compiler.

    Half a million objects are made that live on: looking through them again and again for garbage takes a fifth of
    the time, and later collections need not look at them at all.
    """
    gc.disable()
    import torch

    import accelerando.compare.trial  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    gc.freeze()
    gc.enable()


def _print_to(log: str) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _listen(lines: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()

"""The worker: reads jobs from standard input, one JSON object a line, and answers on standard output.

It is spawned, never forked, and nothing in it is pickled: a job names its task. It ends as soon as standard
input closes, in the middle of a trial if need be, so a driver that was killed leaves nothing running. What
the user's code prints goes to the log.
"""

import json
import os
import sys
import threading
from functools import cache
from queue import SimpleQueue
from typing import Any

from accelerando.compare.records import Trial, canonical
from accelerando.errors import TaskError


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


@cache
def _resolved(task: str) -> Any:
    from accelerando.compare.resolve import resolve

    return resolve(task)


def main() -> None:
    """Serve until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    while True:
        job = json.loads(jobs.get())
        answer = {"id": job["id"], "outcome": None, "stop": ""}
        try:
            answer["outcome"] = execute(job["trial"], job["task"])
        except TaskError as error:
            answer["stop"] = str(error)
        answers.write(canonical(answer) + "\n")
        answers.flush()
        sys.stdout.flush()


def _listen(jobs: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()

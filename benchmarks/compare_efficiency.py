"""How much of a comparison's wall time is training: the same trials as bare loops on the same cores, over it.

Runs ``accelerando compare`` with the words given (the default experiment without any) in a fresh folder and
takes its wall time from the start of the command to its end, report included. Then trains the recorded trials
again as bare loops, nothing but batch, loss, backward, step and schedule, in as many processes as there were
workers, and adds up the seconds of the loops alone.

    efficiency = sum of the bare loops' seconds / (workers × wall seconds)

    python benchmarks/compare_efficiency.py [TASK -s … --lrs …]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLI = [sys.executable, "-c", "from accelerando.cli import main; main()"]


def bare(folder: str, part: int, parts: int) -> None:
    """Train every ``parts``-th recorded trial bare, and print the seconds of the loops."""
    import torch

    from accelerando.compare.assemble import build, find
    from accelerando.compare.resolve import resolve
    from accelerando.compare.store import read
    from accelerando.compare.strategy import parse

    torch.set_num_threads(1)
    experiment, outcomes = read(Path(folder))
    task = resolve(experiment.task["name"]).task
    seconds = 0.0
    for outcome in outcomes[part::parts]:
        trial = outcome.trial
        torch.manual_seed(trial.seed)
        model = task.model()
        strategy = parse(trial.strategy)
        optimizer, steppers = build(strategy, find(strategy), model.parameters(), trial.rate, trial.steps)
        batches = iter(task.batches(trial.seed))
        last = outcome.losses[-1][0] if outcome.status == "diverged" else trial.steps
        began = time.perf_counter()
        for _ in range(last):
            batch = next(batches)
            optimizer.zero_grad(set_to_none=True)
            loss = task.loss(model, batch)
            loss.backward()
            optimizer.step()
            for stepper in steppers:
                stepper(loss)
        seconds += time.perf_counter() - began
    print(json.dumps({"trials": len(outcomes[part::parts]), "seconds": seconds}))


def main() -> None:
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as home:
        folder = str(Path(home, "records"))
        began = time.perf_counter()
        subprocess.run(
            [*CLI, "compare", *sys.argv[1:], "--out", folder, "--workers", str(workers)], check=True
        )
        wall = time.perf_counter() - began
        again = [
            subprocess.Popen(
                [sys.executable, __file__, "--bare", folder, str(part), str(workers)],
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for part in range(workers)
        ]
        found = [json.loads(process.communicate()[0]) for process in again]
    seconds = sum(part["seconds"] for part in found)
    print(f"trials                         {sum(part['trials'] for part in found)}")
    print(f"wall time of the command       {wall:.1f} s with {workers} workers")
    print(f"sum of the bare loops          {seconds:.1f} s")
    print(f"efficiency                     {seconds / (workers * wall):.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        bare(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()

"""How much of a comparison's wall time is training: the same trials as bare loops on the same cores, over it.

Runs ``accelerando compare`` with the words given in a fresh folder and takes its wall time from the start of
the command to its end, report included. Then trains the recorded trials again as bare loops, nothing but
batch, loss, backward, step and schedule, in as many processes as there were workers, and adds up the seconds
of the loops alone: importing torch, loading data and making model and optimizer are not in them.

    efficiency = sum of the bare loops' seconds / (workers x wall seconds)

The wall time is cut in three by what the command writes: until the workers get their first trial, until the
last trial is recorded, until the command ends. Where other work shares the cores, wall times say little; the
processors' seconds of all the command's processes beside those of the loops say what the command adds, though
not how well it keeps the cores busy. Without words, four experiments are measured: the default, the
default with four times the steps, and both with the optimizers of torch alone, whose steps are quick. Each is
measured ``--rounds`` times, command and loops in turn, and the least of each time is taken.

    python benchmarks/compare_efficiency.py [--rounds N] [-- TASK -s … --lrs …]
    python benchmarks/compare_efficiency.py --trial     where the time of one trial goes
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLI = [sys.executable, "-c", "from accelerando.cli import main; main()"]
CORES = len(os.sched_getaffinity(0))
TORCH = (
    *("torch.optim:Adam", "torch.optim:Adam+cosine", "torch.optim:Adam+plateau", "torch.optim:Adam+cyclic"),
    *("torch.optim:AdamW+cosine", "torch.optim:RAdam", "torch.optim:NAdam", "torch.optim:SGD"),
)
QUICK = [word for name in TORCH for word in ("-s", name)]
EXPERIMENTS = {
    "default": [],
    "default, 4 x steps": ["--steps", "2400"],
    "torch.optim": QUICK,
    "torch.optim, 4 x steps": [*QUICK, "--steps", "2400"],
}


@dataclass(frozen=True)
class Taken:
    """Seconds of one command, and of the same trials as bare loops, by the clock and of the processors."""

    trials: int
    wall: float
    start: float
    training: float
    end: float
    bare: float
    cpu: float
    bare_cpu: float


def least(rounds: Sequence[Taken]) -> Taken:
    """The round with the quickest command, beside the least time of the loops and the least of processors."""
    best = min(rounds, key=lambda taken: taken.wall)
    names = ("bare", "cpu", "bare_cpu")
    return Taken(**{**best.__dict__, **{name: min(getattr(t, name) for t in rounds) for name in names}})


def measured(words: Sequence[str]) -> Taken:
    """Run the command, then its trials as bare loops."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "records")
        began = time.time()
        command = [*CLI, "compare", *words, "--out", str(folder), "--workers", str(CORES)]
        before = processors()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ended, cpu = time.time(), processors() - before
        first = min(path.stat().st_mtime for path in folder.glob("log/*"))
        last = max(path.stat().st_mtime for path in folder.glob("trials/*.jsonl"))
        found = again(folder)
        trials, bare, bare_cpu = (sum(part[key] for part in found) for key in ("trials", "seconds", "cpu"))
        return Taken(trials, ended - began, first - began, last - first, ended - last, bare, cpu, bare_cpu)


def processors() -> float:
    """Processor seconds of every process started from here that has ended, and of those it started."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def again(folder: Path) -> list[dict[str, Any]]:
    """The recorded trials as bare loops, one process a core."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--bare", str(folder), str(part), str(CORES)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for part in range(CORES)
    ]
    return [json.loads(process.communicate()[0]) for process in processes]


def looped(task: Any, trial: Any, last: int) -> tuple[float, float]:
    """Seconds of ``last`` updates of a trial and nothing else, by the clock and of the processor."""
    import torch

    from accelerando.compare.assemble import build, find
    from accelerando.compare.strategy import parse

    torch.manual_seed(trial.seed)
    model, strategy = task.model(), parse(trial.strategy)
    optimizer, steppers = build(strategy, find(strategy), model.parameters(), trial.rate, trial.steps)
    if callable(getattr(optimizer, "train", None)):
        optimizer.train()
    batches = iter(task.batches(trial.seed))
    began, spent = time.perf_counter(), time.process_time()
    for _ in range(last):
        batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        loss = task.loss(model, batch)
        loss.backward()
        optimizer.step()
        for stepper in steppers:
            stepper(loss)
    return time.perf_counter() - began, time.process_time() - spent


def bare(folder: str, part: int, parts: int) -> None:
    """Train every ``parts``-th recorded trial bare, and print the seconds of the loops."""
    import torch

    from accelerando.compare.resolve import resolve
    from accelerando.compare.store import read

    torch.set_num_threads(1)
    experiment, outcomes = read(Path(folder))
    task, mine = resolve(experiment.task["name"]).task, outcomes[part::parts]
    ends = [o.losses[-1][0] if o.status == "diverged" else o.trial.steps for o in mine]
    taken = [looped(task, o.trial, end) for o, end in zip(mine, ends, strict=True)]
    seconds, cpu = (sum(column) for column in zip(*taken, strict=True))
    print(json.dumps({"trials": len(mine), "seconds": seconds, "cpu": cpu}))


def one_trial(rounds: int) -> None:
    """Print where a tuning and a fresh trial spend the processor: the least of interleaved repeats."""
    import torch

    from accelerando.compare.plan import READINGS
    from accelerando.compare.records import Trial
    from accelerando.compare.resolve import resolve
    from accelerando.compare.trial import run

    torch.set_num_threads(1)
    resolved = resolve("digits")
    task, kinds = resolved.task, ((1, 0), (20, 0), (20, READINGS))
    print("| strategy | bare loop | tuning trial | with 20 evaluations | and readings: fresh trial |")
    print("|---|---|---|---|---|")
    for name in ("adam", "torch.optim:Adam", "torch.optim:SGD"):
        found: list[list[float]] = []
        for seed in range(rounds + 1):
            head = (task.name, resolved.hash, name, 1e-3, seed, "fresh", task.steps, "cpu", ())
            row = [looped(task, Trial(*head), task.steps)[1]]
            for evals, readings in kinds:
                began = time.process_time()
                run(Trial(*head, evals, readings), resolved)
                row.append(time.process_time() - began)
            found.append(row)
        columns = [1e3 * min(column) for column in zip(*found[1:], strict=True)]
        print(f"| {name} |", " | ".join(f"{value:.0f} ms" for value in columns), "|")


def table(experiments: dict[str, list[str]], rounds: int) -> None:
    """Measure each experiment and print a row for it."""
    print(f"{CORES} workers on {CORES} cores; seconds; the least of {rounds} rounds")
    heads = ("experiment", "trials", "start", "training", "report", "wall", "bare loops", "efficiency")
    print("|", " | ".join((*heads, "while training", "CPU", "CPU bare", "by CPU", "load")), "|")
    print("|" + "---|" * (len(heads) + 5), flush=True)
    for name, words in experiments.items():
        taken = least([measured(words) for _ in range(rounds)])
        whole, inside = (taken.bare / (CORES * seconds) for seconds in (taken.wall, taken.training))
        cells = [f"{s:.1f}" for s in (taken.start, taken.training, taken.end, taken.wall, taken.bare)]
        cells += [f"**{whole:.2f}**", f"{inside:.2f}", f"{taken.cpu:.1f}", f"{taken.bare_cpu:.1f}"]
        cells += [f"{taken.bare_cpu / taken.cpu:.2f}", f"{os.getloadavg()[0]:.1f}"]
        print(f"| {name} | {taken.trials} |", " | ".join(cells), "|", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--bare"]:
        bare(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--trial", action="store_true")
    parser.add_argument("words", nargs="*", help="of another experiment, after --")
    asked = parser.parse_args()
    if asked.trial:
        one_trial(asked.rounds)
        return
    table({"yours": asked.words} if asked.words else EXPERIMENTS, asked.rounds)


if __name__ == "__main__":
    main()

"""Kill a comparison's driver and its workers with signal 9 at random moments, and look for what was lost.

The same small experiment runs undisturbed, then with its driver killed again and again and resumed by the
same command, then with its workers killed. Prints one line per check; the exit status is 0 if all hold:

- the set of trials is the undisturbed one, and each has exactly one complete record;
- every result is the undisturbed one, its clock apart;
- report.md is the undisturbed one byte for byte.

    python benchmarks/compare_crash.py --driver-kills 20 --worker-kills 20 [--seed 0]
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TASK = """
import torch
from accelerando.compare import Task

SCALES = torch.logspace(0, 1.5, 10)


class Bowl(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.randn(10))


def batches(seed):
    stream = torch.Generator().manual_seed(seed)
    while True:
        yield (0.1 * torch.randn(10, generator=stream),)


def task():
    return Task(
        name="bowl",
        model=Bowl,
        batches=batches,
        loss=lambda model, batch: (SCALES * (model.place - batch[0]).square()).sum(),
        evaluate=lambda model: {"loss": float((SCALES * model.place.square()).sum())},
        steps=200,
    )
"""
STRATEGIES = ("torch.optim:Adam", "torch.optim:AdamW+cosine", "sgd+cyclic", "sgd+plateau")


@dataclass
class Bench:
    """One folder of a small experiment."""

    home: Path
    name: str
    seeds: int = 8
    steps: int = 400
    process: "subprocess.Popen[bytes] | None" = None
    options: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> Path:
        return self.home / self.name

    def start(self) -> "subprocess.Popen[bytes]":
        (self.home / "bowl.py").write_text(TASK)
        words = [sys.executable, "-c", "from accelerando.cli import main; main()", "compare", "bowl.py"]
        words += [word for text in STRATEGIES for word in ("-s", text)]
        words += ["--lrs", "1e-4..1e-1", "--seeds", str(self.seeds), "--steps", str(self.steps)]
        words += ["--out", self.name, *self.options]
        with (self.home / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(words, cwd=self.home, stdout=log, stderr=log)
        return self.process

    def finish(self) -> None:
        if self.start().wait() != 0:
            raise SystemExit(f"the run failed: {(self.home / f'{self.name}.log').read_text()[-2000:]}")

    def records(self) -> dict[str, list[list[dict]]]:
        """Trial → its complete attempts, without the clock."""
        return {path.stem: list(_attempts(path)) for path in (self.folder / "trials").glob("*.jsonl")}

    def done(self) -> int:
        return sum(bool(attempts) for attempts in self.records().values())

    def workers(self) -> list[int]:
        return [pid for pid in _children(self.process.pid) if b"accelerando.compare.worker" in _command(pid)]


def _attempts(path: Path) -> Iterator[list[dict]]:
    attempt: list[dict] = []
    for line in path.read_bytes().split(b"\n"):
        try:
            words = json.loads(line)
        except ValueError:
            continue
        attempt = [words] if words["kind"] == "trial" else [*attempt, words]
        if words["kind"] == "end":
            words.pop("seconds")
            yield attempt


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_drivers(bench: Bench, kills: int, dice: random.Random, total: int) -> int:
    """Start, let it do some trials, kill, again; returns how many kills met a running experiment."""
    met = 0
    orphans: list[int] = []
    for number in range(kills):
        process = bench.start()
        goal = total * (number + 1) // (kills + 1)
        while process.poll() is None and bench.done() < goal:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.3))
        workers = bench.workers() if process.poll() is None else []
        met += process.poll() is None
        _kill(process.pid)
        process.wait()
        orphans += workers
    deadline = time.time() + 10
    while any(b"accelerando" in _command(pid) for pid in orphans) and time.time() < deadline:
        time.sleep(0.05)
    left = [pid for pid in orphans if b"accelerando" in _command(pid)]
    print(f"workers left behind by {kills} killed drivers: {len(left)}")
    bench.finish()
    return met if not left else -1


def kill_workers(bench: Bench, kills: int, dice: random.Random, total: int) -> int:
    """Kill one worker at a time while one driver runs; returns how many were killed."""
    process = bench.start()
    killed = 0
    while process.poll() is None and killed < kills:
        goal = total * killed // (kills + 1)
        workers = bench.workers()
        if bench.done() >= goal and workers:
            time.sleep(dice.uniform(0, 0.3))
            _kill(dice.choice(workers))
            killed += 1
        time.sleep(0.01)
    if process.wait() != 0:
        print((bench.home / f"{bench.name}.log").read_text()[-2000:])
        return -1
    return killed


def check(bench: Bench, calm: Bench) -> bool:
    """Print what holds of a disturbed experiment."""
    mine, theirs = bench.records(), calm.records()
    once = {trial: len(attempts) for trial, attempts in mine.items()}
    facts = {
        f"the same {len(theirs)} trials": mine.keys() == theirs.keys(),
        "each recorded exactly once": all(count == 1 for count in once.values()),
        "identical results": all(mine[trial] == theirs.get(trial) for trial in mine),
        "report.md byte-identical": (bench.folder / "report.md").read_bytes()
        == (calm.folder / "report.md").read_bytes(),
    }
    for fact, holds in facts.items():
        print(f"{bench.name}: {fact}: {'yes' if holds else 'NO'}")
    return all(facts.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--driver-kills", type=int, default=20)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=8, help="fresh seeds of the experiment")
    parser.add_argument("--steps", type=int, default=400, help="updates of one trial")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    dice = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as home:
        benches = [
            Bench(Path(home), name, asked.seeds, asked.steps) for name in ("calm", "drivers", "workers")
        ]
        calm, drivers, workers = benches
        calm.finish()
        total = calm.done()
        met = kill_drivers(drivers, asked.driver_kills, dice, total)
        print(f"drivers killed while running: {met} of {asked.driver_kills}")
        killed = kill_workers(workers, asked.worker_kills, dice, total)
        print(f"workers killed: {killed} of {asked.worker_kills}")
        sound = [check(drivers, calm), check(workers, calm)]
    sys.exit(not all(sound) or met < 1 or killed < 1)


if __name__ == "__main__":
    main()

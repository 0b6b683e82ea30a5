"""The time of one optimizer step against other libraries', after finding out who does what the paper says.

Run:  python benchmarks/step.py [--device cuda] [--threads 1] [--models "GPT-2 124M"]

Everything is timed in one process, in interleaved rounds; gradients lie elsewhere at every step, as after
``zero_grad(set_to_none=True)``. Writes ``benchmarks/results/step-DEVICE-THREADS.json`` and ``.md``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, too

from benchmarks.stepping.contenders import BAR, COMMON, Contender, contenders, distance_from_paper
from benchmarks.stepping.shapes import MODELS
from benchmarks.stepping.timing import ROUNDS, rounds, summarise

import accelerando
from accelerando.engine.traffic import traffic

RESULTS = Path(__file__).parent / "results"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Racer:
    """A contender with parameters of its own, and gradients that all share."""

    def __init__(
        self, contender: Contender, starts: list[torch.Tensor], gradients: list[list[torch.Tensor]]
    ) -> None:
        self.params = [torch.nn.Parameter(s.clone()) for s in starts]
        self.gradients, self.optimizer = gradients, contender.make(self.params)
        self.step = self.optimizer.step

    def prepare(self, number: int) -> None:
        """Put gradients in place."""
        for p, g in zip(self.params, self.gradients[number % len(self.gradients)], strict=True):
            p.grad = g


def main() -> None:
    """Time, print, write."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    record: dict[str, Any] = {"machine": machine(arguments), "paper": {}, "steps": []}
    for method in arguments.methods:
        racing = contenders(method, arguments.device)
        distances = {c.label: distance_from_paper(c, method, arguments.device) for c in racing}
        record["paper"][method] = distances
        right = [c for c in racing if distances[c.label] <= BAR]
        if not right or not right[0].ours:
            raise SystemExit(
                f"{method}: ours is {distances[racing[0].label]:.1e} from the paper; nothing was timed"
            )
        for c in racing:
            print(
                f"{method}: {c.label}: {distances[c.label]:.1e} from the paper{'' if c in right else ', not raced'}"
            )
        for dtype in arguments.dtypes if method == "AdamW" else ["float32"]:
            for model in arguments.models:
                record["steps"].append(race(method, model, dtype, right, arguments.device))
    record["copy"] = copied(arguments.device)
    record["starts"] = beginnings()
    write(record, RESULTS / f"step-{arguments.device}-{arguments.threads}")


def race(method: str, model: str, dtype: str, right: list[Contender], device: str) -> dict[str, Any]:
    """Time the contenders of one method on one model."""
    stream = torch.Generator(device=device).manual_seed(0)
    shapes = MODELS[model]()
    made = {"generator": stream, "device": device}
    starts = [0.05 * torch.randn(s, **made).to(DTYPES[dtype]) for s in shapes]
    gradients = [[0.01 * torch.randn(s, **made).to(DTYPES[dtype]) for s in shapes] for _ in range(2)]
    racers = [Racer(c, starts, gradients) for c in right]
    times = summarise(rounds(racers, device))
    elements = sum(s.numel() for s in starts)
    moved = traffic(getattr(accelerando, method).rules[None], DTYPES[dtype]).total
    print(
        f"\n{method} on {model}, {dtype}: {len(shapes)} tensors, {elements:,} parameters; ours moves {moved} bytes for "
        f"each, by the model {1e-9 * moved * elements / times[0].median:,.1f} GB/s"
    )
    for c, t in zip(right, times, strict=True):
        ratio = "" if t.ratio is None else "   ours / theirs {:.3f} [{:.3f}, {:.3f}]".format(*t.ratio)
        print(f"  {c.label:<34}{1e6 * t.median:>12,.1f} us  (least {1e6 * t.low:,.1f}){ratio}", flush=True)
    return {
        "method": method, "model": model, "dtype": dtype, "tensors": len(shapes), "parameters": elements,
        "bytes per parameter": moved,
        "times": {c.label: t.record() for c, t in zip(right, times, strict=True)},
    }  # fmt: skip


_FIRST = (
    "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import accelerando.optim; "
    "c = time.perf_counter(); p = torch.nn.Parameter(torch.ones(64, 64)); p.grad = torch.ones(64, 64); "
    "o = accelerando.{}([p]); d = time.perf_counter(); o.step(); e = time.perf_counter(); print(b - a, c - b, e - d)"
)


def copied(device: str) -> float:
    """Bytes per second of copying a large tensor, read and written both counted: what memory gives here."""
    source = torch.zeros(1 << 28 if device == "cpu" else 1 << 30, dtype=torch.uint8, device=device)
    target, best = torch.ones_like(source), 0.0
    for _ in range(10):
        begin = time.perf_counter()
        target.copy_(source)
        if device != "cpu":
            torch.cuda.synchronize()
        best = max(best, 2 * source.numel() / (time.perf_counter() - begin))
    return best


def beginnings() -> dict[str, Any]:
    """Seconds of importing, and of a first step with an empty and with a filled kernel cache, in new processes."""
    found: dict[str, Any] = {}
    for method in ("AdamW", "LAMB"):
        with tempfile.TemporaryDirectory() as kept:
            environment = {**os.environ, "ACCELERANDO_CACHE_DIR": kept}
            for state in ("cold", "warm", "warm again"):
                command = [sys.executable, "-c", _FIRST.format(method)]
                out = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                ).stdout
                torch_, ours, first = map(float, out.split())
                found[f"{method}, {state}"] = {
                    "import torch": torch_,
                    "import accelerando": ours,
                    "first step": first,
                }
    return found


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the figures were measured on."""
    packages = (
        "accelerando",
        "torch",
        "numba",
        "timm",
        "pytorch_optimizer",
        "torch_optimizer",
        "adabelief-pytorch",
    )
    cpu = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor(),
    )
    device = cpu if arguments.device == "cpu" else torch.cuda.get_device_name()
    return {
        "device": device, "cores": os.cpu_count(), "threads": arguments.threads, "load": os.getloadavg()[0],
        "python": platform.python_version(), "date": time.strftime("%Y-%m-%d"),
        "versions": {p: version(p) for p in packages if _installed(p)},
    }  # fmt: skip


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except ImportError:
        return False


def write(record: dict[str, Any], stem: Path) -> None:
    """The record, and a page of it."""
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    m = record["machine"]
    lines = [
        f"# The time of one step: {m['device']}, {m['threads']} thread{'s' * (m['threads'] > 1)}", "",
        f"`python benchmarks/step.py`, {m['date']}, python {m['python']}, "
        + ", ".join(f"{k} {v}" for k, v in m["versions"].items())
        + f"; load at the start {m['load']:.1f}. Medians of up to {ROUNDS} interleaved rounds; a contender "
        "more than six times slower than the fastest is timed in three. In brackets: the 95 % interval.", "",
        f"Copying a large tensor moves {1e-9 * record['copy']:.1f} GB/s here, read and written both counted. We move "
        "the bytes of the model in `accelerando.engine.traffic`, which counts every pass as one over memory.", "",
        "| method | model | dtype | contender | µs | GB/s, ours | ours / theirs |", "|---|---|---|---|--:|--:|--:|",
    ]  # fmt: skip
    for s in record["steps"]:
        for label, t in s["times"].items():
            ratio = "" if t["ratio"] is None else "{:.2f} [{:.2f}, {:.2f}]".format(*t["ratio"])
            rate = 1e-9 * s["bytes per parameter"] * s["parameters"] / t["median"]
            speed = f"{rate:,.1f}" if label == "accelerando" else ""
            cells = (s["method"], s["model"], s["dtype"], label, f"{1e6 * t['median']:,.1f}", speed, ratio)
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"## Distance from the paper, float32, nine steps; above {BAR:g} a contender is not raced",
        "",
    ]
    lines += ["| method | contender | distance |", "|---|---|--:|"]
    for method, distances in record["paper"].items():
        lines += [f"| {method} | {label} | {d:.1e} |" for label, d in distances.items()]
    lines += [
        "",
        "## Beginnings, in seconds",
        "",
        "| | import torch | import accelerando | first step |",
        "|---|--:|--:|--:|",
    ]
    for name, s in record["starts"].items():
        lines.append(
            f"| {name} | {s['import torch']:.2f} | {s['import accelerando']:.2f} | {s['first step']:.2f} |"
        )
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(f"\nwritten: {stem}.json and .md")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads, and ours (default: 1)")
    parser.add_argument("--methods", nargs="+", choices=[*COMMON], default=[*COMMON])
    parser.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--dtypes", nargs="+", choices=[*DTYPES], default=[*DTYPES])
    return parser.parse_args()


if __name__ == "__main__":
    main()

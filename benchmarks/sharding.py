"""The rank matrix: every rule of the tests on 1, 2 and 4 gloo ranks, against one rank.

``python benchmarks/sharding.py [--backend cpu] [--out benchmarks/results/sharding.md]``
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

WORKER = Path(__file__).parents[1] / "tests" / "distributed" / "worker.py"
LAYOUTS = ("even", "uneven", "empty", "large", "missing")


def run(world: int, folder: Path, backend: str) -> list[dict[Any, Any]]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(WORKER)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(world), str(folder), backend], env=environment)
        for rank in range(world)
    ]
    if any(rank.wait() for rank in ranks):
        raise SystemExit(f"a rank of {world} failed")
    return [torch.load(folder / f"{world}-{rank}.pt", weights_only=False) for rank in range(world)]


def gap(mine: Any, alone: Any) -> float:
    pairs = list(zip(mine["params"], alone["params"], strict=True))
    for a, b in zip(mine["buffers"], alone["buffers"], strict=True):
        pairs += [(a[name], b[name]) for name in a]
    return max(float((a - b).abs().max()) for a, b in pairs)


def agree(ranks: list[Any]) -> bool:
    first = ranks[0]
    return all(
        gap(r, first) == 0 and all(r[k] == first[k] for k in ("steps", "kept", "memory")) for r in ranks
    )


def cell(ranks: list[Any], alone: Any, layout: str) -> str:
    if layout == "missing":
        counts = "counts equal" if all(r["steps"] == ranks[0]["steps"] for r in ranks) else "counts by rank"
        return f"{'ranks agree' if agree(ranks) else 'shares left'}, {counts}"
    worst = max(gap(r, alone) for r in ranks)
    return ("bitwise" if worst == 0 else f"{worst:.1e}") + ("" if agree(ranks) else ", RANKS DIFFER")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="cpu", choices=["cpu", "eager"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sharding.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {world: run(world, Path(name), arguments.backend) for world in (1, 2, 4)}
    alone = found[1][0]
    lines = [
        "# The rank matrix",
        "",
        f"Made by `python benchmarks/sharding.py --backend {arguments.backend}`: torch {torch.__version__}, gloo,",
        "float32, six steps, two groups, `Shard(0)`. A cell is the largest difference of a parameter or buffer from",
        "one rank, over all ranks. *missing*: a gradient the last rank lacks in two steps of six, and another that no",
        "rank has in two; one rank is no reference there: the cell says whether ranks agree on counts and memory.",
        "",
        "| rule | ranks | " + " | ".join(LAYOUTS) + " | collectives per step |",
        "|---|---|" + "---|" * (len(LAYOUTS) + 1),
    ]
    for rule in dict.fromkeys(rule for rule, _ in alone):
        for world in (2, 4):
            cells = [cell([r[rule, at] for r in found[world]], alone[rule, at], at) for at in LAYOUTS]
            calls = sorted({c for r in found[world] for at in LAYOUTS for c in r[rule, at]["calls"]})
            lines.append(f"| {rule} | {world} | {' | '.join(cells)} | {', '.join(map(str, calls))} |")
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

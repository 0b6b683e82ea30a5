"""The common advice on learning rates, line by line under the lens: ``python -m benchmarks.does_it_rise``.

Writes ``results/does_it_rise.json`` and ``.md``, the figures ``docs/images/rise-*.png``, and puts the numbers into
``docs/guide/does-it-rise.md`` and its Chinese twin. Names of questions as arguments run only these again; ``draw``
draws what is recorded, and runs nothing.
"""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy
import torch
from benchmarks.rise.draw import draw
from benchmarks.rise.observe import QUESTIONS, observe
from benchmarks.rise.quote import GUIDES, filled
from benchmarks.rise.watch import FEWER, SEEDS, STEPS

from accelerando import __version__

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "does_it_rise.json"


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"answers": {}, "plots": {}}
    if wanted != ["draw"]:
        for question in wanted or QUESTIONS:
            answer = observe(question)
            record["answers"][question] = answer["said"]
            record["plots"][question] = _rounded(answer["plots"])
            print(question, answer["said"], flush=True)
    for question, plots in record["plots"].items():
        draw(question, plots, ROOT / "docs" / "images" / f"rise-{question}.png")
    record |= {
        "seeds": {"most tasks": len(SEEDS), **dict.fromkeys(STEPS, len(FEWER))},
        "versions": {"accelerando": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "threads": 1},
    }
    plots = record.pop("plots")
    lines = [
        f" {json.dumps(question)}: {json.dumps(plots[question], ensure_ascii=False)}" for question in plots
    ]
    text = json.dumps(record, indent=1, ensure_ascii=False).removesuffix("\n}")
    text += ',\n "plots": {\n' + ",\n".join(lines) + "\n}}\n"
    RECORD.write_text(text, encoding="utf-8")
    RECORD.with_suffix(".md").write_text(_table(record), encoding="utf-8")
    for guide in GUIDES:
        path = ROOT / "docs" / "guide" / guide
        path.write_text(filled(path.read_text(encoding="utf-8"), record["answers"]), encoding="utf-8")


def _rounded(plotted: Any) -> Any:
    """Four digits are enough to draw."""
    if isinstance(plotted, dict):
        return {key: _rounded(value) for key, value in plotted.items()}
    if isinstance(plotted, list):
        return [_rounded(value) for value in plotted]
    return float(f"{plotted:.4g}") if isinstance(plotted, float) else plotted


def _table(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    lines = [
        "# Does it rise? The record",
        "",
        f"Made by `python -m benchmarks.does_it_rise`; seeds: {record['seeds']}; {versions}; "
        f"Python {record['machine']['python']} on {record['machine']['processor']}, one thread. "
        "[The guide](../../docs/guide/does-it-rise.md) says what each number is.",
        "",
    ]
    for question, said in record["answers"].items():
        lines += [f"## {question}", "", "| number | value |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in said.items()] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])

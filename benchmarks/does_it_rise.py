"""The common advice on learning rates, line by line under the lens: ``python -m benchmarks.does_it_rise``.

Writes ``results/does_it_rise.json`` and ``.md``, the figures ``docs/images/rise-*.png``, and puts the numbers into
``docs/guide/does-it-rise.md`` and its Chinese twin. Names of questions as arguments run only these again; ``draw``
draws what is recorded, and runs nothing.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy
import torch
from benchmarks.rise.draw import draw
from benchmarks.rise.observe import QUESTIONS, observe, seeds
from benchmarks.rise.quote import GUIDES, filled

from accelerando import __version__

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "does_it_rise.json"


def main(wanted: list[str]) -> None:
    """Answer what is wanted, all without a word, and write it down one by one."""
    torch.set_num_threads(1)
    record = (
        json.loads(RECORD.read_text(encoding="utf-8"))
        if RECORD.exists()
        else {"answers": {}, "plots": {}, "seeds": {}}
    )
    for question in () if wanted == ["draw"] else wanted or QUESTIONS:
        answer = observe(question)
        record["answers"][question] = answer["said"]
        record["plots"][question] = _rounded(answer["plots"])
        record["seeds"][question] = seeds(question)
        print(question, answer["said"], flush=True)
        _write(record)
    for question, plots in record["plots"].items():
        draw(question, plots, ROOT / "docs" / "images" / f"rise-{question}.png")
    for guide in GUIDES:
        path = ROOT / "docs" / "guide" / guide
        path.write_text(filled(path.read_text(encoding="utf-8"), record["answers"]), encoding="utf-8")


def _write(record: dict[str, Any]) -> None:
    record |= {
        "versions": {"accelerando": __version__, "torch": torch.__version__, "numpy": numpy.__version__},
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "threads": 1},
    }
    known = {k: v for k, v in record.items() if k != "plots"}
    plots = [f" {json.dumps(q)}: {json.dumps(p, ensure_ascii=False)}" for q, p in record["plots"].items()]
    text = json.dumps(known, indent=1, ensure_ascii=False).removesuffix("\n}")
    RECORD.write_text(text + ',\n "plots": {\n' + ",\n".join(plots) + "\n}}\n", encoding="utf-8")
    RECORD.with_suffix(".md").write_text(_table(record), encoding="utf-8")


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
        f"Made by `python -m benchmarks.does_it_rise`; {versions}; "
        f"Python {record['machine']['python']} on {record['machine']['processor']}, one thread. "
        "[The guide](../../docs/guide/does-it-rise.md) says what each number is.",
        "",
    ]
    for question, said in record["answers"].items():
        lines += [
            f"## {question}",
            "",
            f"{record['seeds'][question]} seeds.",
            "",
            "| number | value |",
            "|---|---|",
        ]
        lines += [f"| {key} | {value} |" for key, value in said.items()] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"{', '.join(QUESTIONS)}; or draw")
    wanted = parser.parse_args().questions
    if unknown := [q for q in wanted if q not in QUESTIONS and wanted != ["draw"]]:
        parser.error(f"there is no question {unknown[0]!r}; there are {', '.join(QUESTIONS)}, or draw alone")
    main(wanted)

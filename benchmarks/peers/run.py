"""Hold other libraries' optimizers to the public battery and write the table.

    python benchmarks/peers/run.py [--out benchmarks/results/peers]

A package that is not installed is listed as such; nothing is downloaded.
"""

import argparse
import json
import platform
from functools import partial
from pathlib import Path

import torch
from subjects import PEERS, Peer

from accelerando.testing import CHECKS, Report, Status, check_optimizer

MARKS = {Status.PASSED: "·", Status.FAILED: "✗", Status.INAPPLICABLE: " "}


def hold(peer: Peer) -> Report | None:
    """The report on one peer, or None where its package is not installed."""
    if peer.version() is None:
        return None
    return check_optimizer(peer.load(), paper=peer.paper, **peer.options)


def matrix(reports: dict[str, Report]) -> list[str]:
    """One row a subject, one column a check."""
    codes = sorted(CHECKS)
    lines = ["| optimizer | " + " | ".join(codes) + " | failed |", "|---|" + "---|" * (len(codes) + 1)]
    for label, report in reports.items():
        marks = " | ".join(MARKS[report[code].status] for code in codes)
        lines.append(f"| {label} | {marks} | {len(report.failures)} |")
    return lines


def page(reports: dict[str, Report], absent: list[str], versions: dict[str, str]) -> str:
    """The table as Markdown."""
    lines = ["# Other libraries, held to the battery", ""]
    lines += [", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + ".", ""]
    lines += [f"Not installed: {', '.join(absent)}.", ""] if absent else []
    lines += ["`·` passed, `✗` failed, blank: the question does not arise.", "", *matrix(reports), ""]
    lines += ["## What each check asks", ""]
    lines += [f"- `{code}` {CHECKS[code].title}" for code in sorted(CHECKS)]
    lines += ["", "## What was seen", ""]
    for label, report in reports.items():
        lines += [f"### {label}", ""]
        lines += [f"- `{f.code}` {f.title}: {f.sentence}." for f in report.failures] or ["Nothing failed."]
        lines += [""]
    return "\n".join(lines)


def record(reports: dict[str, Report], versions: dict[str, str]) -> str:
    """The table as JSON, one line a check of an optimizer."""
    dump = partial(json.dumps, ensure_ascii=False, allow_nan=False)
    lines = ["{", f' "versions": {dump(versions)},', ' "checks": {']
    lines += [",\n".join(f"  {dump(code)}: {dump(CHECKS[code].title)}" for code in sorted(CHECKS)), " },"]
    lines += [' "findings": [']
    rows = []
    for label, report in reports.items():
        for finding in report.as_dict()["findings"]:
            kept = {k: finding[k] for k in ("code", "status", "sentence", "evidence", "warnings")}
            rows.append("  " + dump({"optimizer": label, **{k: v for k, v in kept.items() if v}}))
    return "\n".join([*lines, ",\n".join(rows), " ]", "}", ""])


def main() -> None:
    """Run every peer and write ``table.md`` and ``table.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "peers")
    parser.add_argument("--only", help="substring of the label")
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [p for p in PEERS if not args.only or args.only in p.label]
    found = {peer.label: hold(peer) for peer in chosen}
    reports = {label: report for label, report in found.items() if report is not None}
    versions = {p.package: v for p in chosen if (v := p.version()) is not None}
    versions["python"] = platform.python_version()
    absent = sorted({p.package for p in chosen if p.version() is None})
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text(page(reports, absent, versions))
    (args.out / "table.json").write_text(record(reports, versions))
    for label, report in reports.items():
        print(f"{label:60} {' '.join(f.code for f in report.failures)}")


if __name__ == "__main__":
    main()

"""The report at the end of a run, for a terminal."""

from pathlib import Path
from typing import Any

from . import numbers, verdict
from .digest import Digest, Row
from .words import Words

_STYLES = {"better": "green", "worse": "red", "baseline": "bold"}


def table(digest: Digest, say: Words, folder: Path | None) -> Any:
    """A rich renderable: the verdict, one row a strategy, and where the rest is."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    made = Table(title=None, box=None, pad_edge=False, header_style="dim", collapse_padding=False)
    metric, baseline = digest.experiment.task["metric"], digest.experiment.baseline
    made.add_column(say("column.strategy"), no_wrap=False, overflow="fold", min_width=8)
    made.add_column(say("column.rate"))
    made.add_column(say("column.loss"))
    if metric != "loss":
        made.add_column(Text(metric), justify="right")
    made.add_column(Text(say("column.effect", baseline=baseline)))
    made.add_column(say("column.verdict"))
    made.add_column(say("column.robust"), justify="right", max_width=8)
    made.add_column(say("column.rise"))
    for row in digest.ranked:
        cells = _cells(row, digest, say)
        if metric == "loss":
            cells.pop("metric")
        style = _STYLES.get(row.versus.verdict if row.versus else "baseline", "")
        made.add_row(*(Text(cell, style=style if key == "verdict" else "") for key, cell in cells.items()))
    off = [
        Text(
            f"{row.name}: {say('not_run') if row.about.get('not_run') else say('no_result')}. {row.reason}",
            style="dim",
        )
        for row in digest.rows
        if not row.ran
    ]
    sentences = [Text(verdict.headline(digest, say), style="bold"), Text(verdict.rises(digest, say))]
    where = [Text(say("terminal.folder", folder=folder))] if folder is not None else []
    return Group(made, *off, Text(), *sentences, *where)


def _cells(row: Row, digest: Digest, say: Words) -> dict[str, str]:
    loss = numbers.interval(row.summary)
    if row.summary.diverged:
        loss += f"\n{say('diverged', count=row.summary.diverged, n=row.summary.n)}"
    edge = f"\n{say(f'edge.{row.edge}')}" if row.edge else ""
    note = say("rise.note", nominal=verdict.nominal(row, say))
    return {
        "strategy": row.name,
        "rate": numbers.chosen(row) + edge,
        "loss": loss,
        "metric": numbers.share(row.metric),
        "effect": numbers.effect(row.versus, digest.scale) if row.versus else numbers.NONE,
        "verdict": verdict.standing(row, digest, say),
        "robust": numbers.decades(row.decades[0]),
        "rise": f"{verdict.rise(row, say)}\n{note}" if row.rise.of else verdict.rise(row, say),
    }

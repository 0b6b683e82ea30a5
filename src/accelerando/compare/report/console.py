"""The report at the end of a run, for a terminal: a table where it fits, else three lines a strategy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import numbers, verdict
from .digest import Digest, Row
from .words import Words

_STYLES = {"better": "green", "worse": "red", "baseline": "bold"}
_NUMBERS = 112
"""How wide the table is beside the names."""


class Board:
    """A rich renderable: one row a strategy, the verdict, and where the rest is."""

    def __init__(self, digest: Digest, say: Words, folder: Path | None) -> None:
        self._digest = digest
        self._say = say
        self._folder = folder

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """What rich draws, for the width it has."""
        from rich.text import Text

        digest, say = self._digest, self._say
        names = max((len(row.name) for row in digest.ranked), default=0)
        if options.max_width >= names + _NUMBERS:
            yield _table(digest, say)
        else:
            yield from _lines(digest, say)
        for row in digest.rows:
            if not row.ran:
                what = say("not_run") if row.about.get("not_run") else say("no_result")
                yield Text(f"{row.name}: {what}. {row.reason}", style="dim")
        yield Text()
        yield Text(verdict.headline(digest, say), style="bold")
        yield Text(verdict.rises(digest, say))
        if self._folder is not None:
            yield Text(say("terminal.folder", folder=self._folder))


def _table(digest: Digest, say: Words) -> Any:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="dim")
    heads = {
        "strategy": say("column.strategy"),
        "rate": say("column.rate"),
        "loss": say("column.loss"),
        "metric": say("column.metric", metric=digest.experiment.task["metric"]),
        "verdict": say("column.verdict"),
        "robust": say("column.robust"),
        "rise": say("column.rise"),
    }
    if digest.experiment.task["metric"] == "loss":
        heads.pop("metric")
    for name, text in heads.items():
        right = name in ("metric", "robust")
        made.add_column(Text(text), justify="right" if right else "left", max_width=9 if right else None)
    for row in digest.ranked:
        cells = _cells(row, digest, say)
        style = _style(row)
        made.add_row(*(Text(cells[name], style=style if name == "verdict" else "") for name in heads))
    return made


def _lines(digest: Digest, say: Words) -> Iterator[Any]:
    from rich.padding import Padding
    from rich.text import Text

    metric = digest.experiment.task["metric"]
    for row in digest.ranked:
        cells = {name: text.replace("\n", " · ") for name, text in _cells(row, digest, say).items()}
        yield Text.assemble((row.name, "bold"), "  ", (cells["verdict"], _style(row)))
        measured = f"{cells['rate']} · {say('column.loss')} {cells['loss']}"
        if metric != "loss":
            measured += f" · {metric} {cells['metric']}"
        risen = f"{say('column.robust')}: {cells['robust']} · {say('column.rise')} {cells['rise']}"
        yield Padding(Text(f"{measured}\n{risen}"), (0, 0, 0, 2))


def _style(row: Row) -> str:
    return _STYLES.get(row.versus.verdict if row.versus else "baseline", "")


def _cells(row: Row, digest: Digest, say: Words) -> dict[str, str]:
    loss = numbers.interval(row.summary)
    if row.summary.diverged:
        loss += f"\n{say('diverged', count=row.summary.diverged, n=row.summary.n)}"
    edge = f"\n{say(f'edge.{row.edge}')}" if row.edge else ""
    effect = f"\n{numbers.effect(row.versus, digest.scale)}" if row.versus else ""
    note = say("rise.note", nominal=verdict.nominal(row, say))
    return {
        "strategy": row.name,
        "rate": numbers.chosen(row) + edge,
        "loss": loss,
        "metric": numbers.share(row.metric),
        "verdict": verdict.standing(row, digest, say) + effect,
        "robust": numbers.decades(row.decades[0]),
        "rise": f"{verdict.rise(row, say)}\n{note}" if row.rise.of else verdict.rise(row, say),
    }

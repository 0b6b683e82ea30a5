"""``accelerando lens FILE [FILE…]``: print, draw and compare recordings."""

import json
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from accelerando.errors import AccelerandoError
from accelerando.lens.recorder import events_of, rises_of
from accelerando.lens.rows import Row
from accelerando.lens.store import Recording, read

BARS = "▁▂▃▄▅▆▇█"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="Write a self-contained page here.")
@click.option("--png", type=click.Path(path_type=Path), help="Write the figures into this folder.")
@click.option(
    "--tensors", default=12, show_default=True, help="How many tensors to list, longest relative step first."
)
@click.option("--json", "as_json", is_flag=True, help="Print rises and events as JSON instead.")
def command(
    files: tuple[Path, ...], html: Path | None, png: Path | None, tensors: int, as_json: bool
) -> None:
    """Print what was recorded in each FILE; several are compared."""
    try:
        recordings = [read(file) for file in files]
    except AccelerandoError as error:
        raise click.ClickException(str(error)) from error
    names = [file.stem for file in files]
    if as_json:
        click.echo(json.dumps([_facts(r, n) for r, n in zip(recordings, names, strict=True)], indent=1))
    else:
        _print(recordings, names, tensors)
    if html is not None:
        from accelerando.lens.report import page

        html.write_text(page(recordings, names), encoding="utf-8")
        click.echo(f"wrote {html}", err=True)
    if png is not None:
        from accelerando.lens.figures import figures
        from accelerando.lens.figures import png as write

        for path in write(figures(recordings, names), png):
            click.echo(f"wrote {path}", err=True)


def _facts(recording: Recording, name: str) -> dict[str, object]:
    return {
        "recording": name,
        "samples": len(recording.samples),
        "rises": [{k: getattr(r, k) for k in r.__dataclass_fields__} for r in rises_of(recording)],
        "events": recording.events,
    }


def _print(recordings: list[Recording], names: list[str], tensors: int) -> None:
    console = Console()
    console.print(_groups(recordings, names))
    for recording, name in zip(recordings, names, strict=True):
        for rise in rises_of(recording):
            by = f" (the schedule: {rise.nominal:.3g}×)" if abs(rise.nominal - 1) > 0.01 else ""
            text = f"rose {rise.factor:.3g}× around step {rise.step}{by}, cause: {rise.cause}"
            console.print(f"\n{name}, group {rise.group}: {text}", markup=False, highlight=False)
        for event in events_of(recording):
            console.print(f"\n{name}, {event}", markup=False, highlight=False)
    if tensors > 0 and len(recordings) == 1:
        console.print("\nMedians by tensor; update is ‖d‖/‖p‖", highlight=False)
        console.print(_tensors(recordings[0], tensors))


def _groups(recordings: list[Recording], names: list[str]) -> Table:
    """A line for each recording, optimizer and group: first and last, and the curve between."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    several = len(recordings) > 1
    if several:
        table.add_column("recording", overflow="fold")
    for title in ("group", "steps", "lr", "gain", "effective", "alignment", "gain over time"):
        table.add_column(title, justify="left" if title == "gain over time" else "right", no_wrap=True)
    for recording, name in zip(recordings, names, strict=True):
        series: dict[tuple[int, int], list[Row]] = {}
        for row in recording.rows("group"):
            if row["gain"] is not None:
                series.setdefault((row["optimizer"], row["group"]), []).append(row)
        for (optimizer, group), rows in series.items():
            place = f"{optimizer}.{group}" if optimizer else str(group)
            spans = [f"{rows[0][f]:.2g}→{rows[-1][f]:.2g}" for f in ("lr", "gain", "effective")]
            alignment = f"{median(r['alignment'] for r in rows):.2f}"
            steps = f"{rows[0]['step']}–{rows[-1]['step']}"
            curve = spark([r["gain"] for r in rows], 14)
            table.add_row(*([escape(name)] if several else []), place, steps, *spans, alignment, curve)
    return table


def _tensors(recording: Recording, most: int) -> Table:
    """The tensors with the longest relative steps."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    titles = ("tensor", "size", "update", "gain", "effective", "agreement", "gain over time")
    for title in titles:
        left = title in ("tensor", "gain over time")
        table.add_column(
            title, justify="left" if left else "right", no_wrap=title != "tensor", overflow="fold"
        )
    series: dict[str, list[Row]] = {}
    for row in recording.rows("tensor"):
        if row["gain"] is not None:
            series.setdefault(row["tensor"], []).append(row)

    def middle(rows: list[Row], field: str) -> float:
        return float(median([r[field] for r in rows if r[field] is not None] or [0.0]))

    order = sorted(series, key=lambda name: -middle(series[name], "relative_update"))
    for name in order[:most]:
        rows = series[name]
        numbers = [f"{middle(rows, f):.3g}" for f in ("relative_update", "gain", "effective", "agreement")]
        table.add_row(escape(name), f"{rows[-1]['size']:,}", *numbers, spark([r["gain"] for r in rows], 14))
    return table


def spark(values: list[float], width: int = 16) -> str:
    """A curve in one line of text, its height logarithmic, blank where it is not positive."""
    from math import log

    size = max(1, -(-len(values) // width))
    cells = [values[i : i + size] for i in range(0, len(values), size)]
    heights = [log(median(positive)) if (positive := [v for v in c if v > 0]) else None for c in cells]
    known = [h for h in heights if h is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if h is None else BARS[round((h - low) / span * 7) if span > 1e-9 else 3] for h in heights
    )

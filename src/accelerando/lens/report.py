"""A recording as one HTML page: no script, no address, everything from the recording escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median

from accelerando.lens.codes import CODES
from accelerando.lens.figures import figures, svg
from accelerando.lens.movements import Moved
from accelerando.lens.recorder import events_of, rises_of
from accelerando.lens.rows import Row
from accelerando.lens.store import Recording

STYLE = """
:root{color-scheme:light}
.acc-lens{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;max-width:60rem;margin:0 auto;padding:1rem}
.acc-lens h1{font-size:1.6rem;margin:.2rem 0}
.acc-lens h2{font-size:1.15rem;margin:1.6rem 0 .4rem}
.acc-lens table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
.acc-lens .wide{overflow-x:auto}
.acc-lens th,.acc-lens td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd}
.acc-lens th,.acc-lens td{white-space:nowrap}
.acc-lens th:first-child,.acc-lens td:first-child{text-align:left}
.acc-lens svg{width:100%;min-width:34rem;height:auto;display:block;margin:.6rem 0}
.acc-lens .said{border-left:3px solid #a00000;padding:.1rem .7rem;margin:.5rem 0}
.acc-lens .none{color:#555}
@media print{.acc-lens{max-width:none}.acc-lens svg,.acc-lens tr{break-inside:avoid}}
"""

HELP = (
    "Gain is displacement per gradient, ‖d‖/‖g‖, decoupled decay taken out. Alignment is −cos(g, d). "
    "Their product is the effective rate, the SGD rate that best explains the step; it may be negative. A"
    " rise is an increase of gain that neither noise nor a falling gradient norm accounts for."
)


def page(
    recordings: Sequence[Recording], names: Sequence[str], moved: Mapping[int, Sequence[Moved]] | None = None
) -> str:
    """A whole page about one recording, or several beside each other.

    Args:
        recordings: one or more.
        names: what to call each.
        moved: for a single recording, optimizer → what it remembers of its own movements.
    """
    title = escape(" · ".join(names))
    parts = [_verdict(r, n if len(names) > 1 else "") for r, n in zip(recordings, names, strict=True)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Lens: {title}</title><style>body{{margin:0}}{STYLE}</style></head>\n"
        f'<body><main class="acc-lens"><h1>Lens: {title}</h1><p>{escape(HELP)}</p>\n'
        + "\n".join(parts)
        + _figures(recordings, names, moved)
        + "\n".join(_tensors(r, n if len(names) > 1 else "") for r, n in zip(recordings, names, strict=True))
        + "</main></body></html>\n"
    )


def body(recording: Recording, moved: Mapping[int, Sequence[Moved]] | None = None) -> str:
    """The same for a notebook cell."""
    return (
        f'<style>{STYLE}</style><div class="acc-lens">{_verdict(recording, "")}'
        f"{_figures([recording], ['lens'], moved)}</div>"
    )


def _verdict(recording: Recording, name: str) -> str:
    """Whether it rose, and the events."""
    head = f"<h2>Did the rate rise?{f' {escape(name)}' if name else ''}</h2>"
    if not recording.samples:
        return f"{head}<p>Nothing was recorded yet.</p>"
    lines = []
    for r in rises_of(recording):
        by_schedule = f", of which the schedule {r.nominal:.3g}×" if abs(r.nominal - 1) > 0.01 else ""
        lines.append(
            f"<p>Group {r.group} of optimizer {r.optimizer}: yes, {r.factor:.3g}× around step {r.step}"
            f"{by_schedule}; "
            f"what grew most: <b>{escape(r.cause)}</b>.</p>"
        )
    found = events_of(recording)
    said = "".join(
        f'<div class="said"><b>{escape(e.code)} {escape(CODES[e.code].title if e.code in CODES else "")}</b>'
        f" · step {e.step} · {escape(e.tensor or ('all groups' if e.group is None else f'group {e.group}'))}"
        f"{'' if e.factor is None else f' · {e.factor:.3g}×'}<br>{escape(e.cause)}. {escape(e.advice)}</div>"
        for e in found
    )
    return (
        head
        + ("".join(lines) or "<p>No group's gain rose.</p>")
        + "<h2>Events</h2>"
        + (said or '<p class="none">None.</p>')
    )


def _figures(
    recordings: Sequence[Recording], names: Sequence[str], moved: Mapping[int, Sequence[Moved]] | None
) -> str:
    if not all(r.samples for r in recordings):
        return ""
    drawn = figures(recordings, names, moved)
    parts = [f'<div class="wide">{svg(f, key)}</div>' for key, f in drawn.items()]
    return "<h2>Over time</h2>" + "".join(parts)


def _tensors(recording: Recording, name: str) -> str:
    """One line a tensor: the medians over the recording."""
    series: dict[tuple[int, int, str], list[Row]] = {}
    for row in recording.rows("tensor"):
        series.setdefault((row["optimizer"], row["group"], row["tensor"]), []).append(row)
    numbers = ("gain", "alignment", "effective", "relative_update", "agreement", "trust_ratio", "decay_share")
    fields = [f for f in numbers if any(r[f] is not None for rows in series.values() for r in rows)]
    head = "".join(f"<th>{field.replace('_', ' ')}</th>" for field in ("tensor", "size", "lr, last", *fields))
    lines = []
    for (_, _, tensor), rows in series.items():
        cells = [escape(tensor), f"{rows[-1]['size']:,}", _number(rows[-1]["lr"])]
        for field in fields:
            values = [r[field] for r in rows if r[field] is not None]
            cells.append(_number(median(values)) if values else "")
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    mark = f" {escape(name)}" if name else ""
    return (
        f"<h2>Tensors{mark}</h2><p>Medians over all samples.</p>"
        f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"

"""Figures of a recording, by matplotlib: rate by layer, causes with events, the layers that differ."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from accelerando.lens.movements import Moved, moved_in, movements
from accelerando.lens.recipes import CAUSES
from accelerando.lens.rows import CAUSE_FIELDS, Row
from accelerando.lens.store import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 200
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
}
COLOURS = {
    "schedule": "#0072B2",
    "bias correction": "#56B4E9",
    "second moment": "#E69F00",
    "rectification": "#009E73",
    "trust ratio": "#D55E00",
    "distance": "#CC79A7",
    "agreement": "#F0E442",
    "clipping": "#000000",
    "decay": "#999999",
    "probe": "#F4A582",
    "rise": "#B2182B",
    "settle": "#92C5DE",
    "method": "#CCCCCC",
}
LINES = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8C564B",
    "#7F7F00",
    "#6A3D9A",
)


def figures(
    recordings: Sequence[Recording], names: Sequence[str], moved: Mapping[int, Sequence[Moved]] | None = None
) -> dict[str, "Figure"]:
    """All figures of one recording, or those that compare several; by a short name.

    Args:
        recordings: one or more.
        names: what to call each, for the legend.
        moved: optimizer → what it remembers of its own movements, where more is known than was sampled.
    """
    if len(recordings) > 1:
        drawn = {"rates": rates(recordings, names)}
        for recording, name in zip(recordings, names, strict=True):
            drawn |= {f"{key} {name}": value for key, value in _of(recording, f"{name}: ", {}).items()}
        return drawn
    return {"rates": rates(recordings, names)} | _of(recordings[0], "", moved or {})


def png(drawn: dict[str, "Figure"], folder: Path) -> list[Path]:
    """Write each figure as a PNG into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in drawn.items():
        path = folder / f"{''.join(c if c.isalnum() else '-' for c in name)}.png"
        figure.savefig(path, dpi=130)
        written.append(path)
    return written


def svg(figure: "Figure", salt: str) -> str:
    """A figure as an SVG element; the salt keeps apart the ids of several in one page."""
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": salt}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def rates(recordings: Sequence[Recording], names: Sequence[str]) -> "Figure":
    """Nominal rate, gain and effective rate of each optimizer over time."""
    figure, axes = canvas(3, (7.5, 5.2), sharex=True)
    fields = ("lr", "gain", "effective")
    titles = ("nominal rate  lr", "gain  ‖d‖/‖g‖", "effective rate  −⟨g,d⟩/⟨g,g⟩")
    k = 0
    for recording, name in zip(recordings, names, strict=True):
        for optimizer in sorted({s.optimizer for s in recording.samples}):
            rows = [r for r in recording.rows("optimizer") if r["optimizer"] == optimizer]
            label = name if optimizer == 0 else f"{name} [{optimizer}]"
            for axis, field in zip(axes, fields, strict=True):
                x, y = _positive(rows, field)
                axis.plot(x, y, color=LINES[k % len(LINES)], lw=1.2, label=_plain(label))
            k += 1
    for axis, title in zip(axes, titles, strict=True):
        titled(axis, title)
        _log(axis)
    axes[-1].set_xlabel("step")
    if k > 1:
        axes[0].legend(frameon=False, fontsize=8)
    return figure


def heat(recording: Recording, optimizer: int, title: str) -> "Figure":
    """Effective rate of each tensor over time; where it is not positive, grey."""
    rows = [r for r in recording.rows("tensor") if r["optimizer"] == optimizer]
    names = list(dict.fromkeys(r["tensor"] for r in rows))
    if len(names) > MOST_ROWS:
        sizes = {r["tensor"]: r["size"] for r in rows}
        largest = set(sorted(names, key=lambda n: -sizes[n])[:MOST_ROWS])
        names = [n for n in names if n in largest]
    steps = sorted({r["step"] for r in rows})
    table = np.full((len(names), len(steps)), np.nan)
    row_of, column_of = ({x: i for i, x in enumerate(xs)} for xs in (names, steps))
    for r in rows:
        if r["tensor"] in row_of and (r["effective"] or 0) > 0:
            table[row_of[r["tensor"]], column_of[r["step"]]] = math.log10(r["effective"])
    figure, (axis,) = canvas(1, (7.5, 1.1 + max(0.6, 0.19 * len(names))))
    import matplotlib as mpl

    colours = mpl.colormaps["viridis"].with_extremes(bad="#bbbbbb")
    edges = [*steps, steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1)]
    mesh = axis.pcolormesh(edges, np.arange(len(names) + 1), np.ma.masked_invalid(table), cmap=colours)
    axis.set_yticks(np.arange(len(names)) + 0.5, [_plain(_short(n)) for n in names], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("step")
    titled(axis, f"{title}effective rate of each tensor (grey: not positive)")
    bar = figure.colorbar(mesh, ax=axis, pad=0.01)
    bar.set_label("log₁₀ effective rate")
    return figure


def causes(recording: Recording, optimizer: int, group: int, title: str) -> "Figure":
    """The factors of log(gain) as they changed since the first sample, stacked, with the events."""
    rows = [
        r
        for r in recording.rows("group")
        if r["optimizer"] == optimizer and r["group"] == group and r[CAUSE_FIELDS[0]] is not None
    ]
    steps = [r["step"] for r in rows]
    table = np.array([[r[f] or 0.0 for f in CAUSE_FIELDS] for r in rows])
    change = (table - table[0]) / math.log(2)
    figure, (axis,) = canvas(1, (7.5, 3.6))
    for sign in (1, -1):
        base = np.zeros(len(rows))
        for k, cause in enumerate(CAUSES):
            part = np.maximum(sign * change[:, k], 0)
            if float(np.abs(change[:, k]).max()) < 0.01:
                continue
            label = cause if sign > 0 else None
            axis.fill_between(
                steps, sign * base, sign * (base + part), color=COLOURS[cause], lw=0, label=label
            )
            base += part
    axis.plot(steps, change.sum(axis=1), color="black", lw=1.3, label="log₂ gain")
    _mark(axis, recording, optimizer, group)
    axis.axhline(0, color="black", lw=0.5)
    axis.set_xlabel("step")
    axis.set_ylabel("doublings since the first sample")
    titled(axis, f"{title}why gain changed, group {group}")
    axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def differing(recording: Recording, optimizer: int, title: str, most: int = 10) -> "Figure":
    """The gain of the tensors whose gain lies farthest from the middle one's; the others in grey."""
    series: dict[str, list[Row]] = {}
    for r in recording.rows("tensor"):
        if r["optimizer"] == optimizer and r["gain"]:
            series.setdefault(r["tensor"], []).append(r)
    level = {n: median(math.log(r["gain"]) for r in rows) for n, rows in series.items()}
    centre = median(level.values())
    order = sorted(series, key=lambda n: -abs(level[n] - centre))
    figure, (axis,) = canvas(1, (7.5, 3.6))
    for name in reversed(order[most:]):
        axis.plot(*_positive(series[name], "gain"), color="#cccccc", lw=0.6)
    for k, name in enumerate(sorted(order[:most], key=lambda n: -level[n])):
        label = f"{_short(name)}  {math.exp(level[name] - centre):.3g}×"
        axis.plot(*_positive(series[name], "gain"), color=LINES[k], lw=1.1, label=_plain(label))
    _log(axis)
    axis.set_xlabel("step")
    titled(axis, f"{title}gain of the tensors that differ most (× the median tensor's)")
    axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _of(recording: Recording, title: str, moved: Mapping[int, Sequence[Moved]]) -> dict[str, "Figure"]:
    drawn: dict[str, Figure] = {}
    optimizers = sorted({s.optimizer for s in recording.samples})
    for optimizer in optimizers:
        mark = "" if len(optimizers) == 1 else f" {optimizer}"
        where = title if not mark else f"{title}optimizer{mark}: "
        rows = [r for r in recording.rows("tensor") if r["optimizer"] == optimizer and r["gain"]]
        if turns := moved.get(optimizer) or moved_in(recording, optimizer):
            drawn[f"movements{mark}"] = movements(turns, where)
        if rows:
            drawn[f"layers{mark}"] = heat(recording, optimizer, where)
            drawn[f"differ{mark}"] = differing(recording, optimizer, where)
        for group in sorted({r["group"] for r in rows}):
            drawn[f"causes{mark} group {group}"] = causes(recording, optimizer, group, where)
    return drawn


def canvas(count: int, size: tuple[float, float], **options: Any) -> tuple["Figure", list["Axes"]]:
    """An empty figure and its axes, one above the other."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(count, 1, squeeze=False, **options)[:, 0]
    return figure, list(axes)


def _mark(axis: "Axes", recording: Recording, optimizer: int, group: int) -> None:
    """A line for each code at its first event of this group."""
    said: set[str] = set()
    for event in recording.events:
        if event["optimizer"] != optimizer or event["group"] not in (group, None) or event["code"] in said:
            continue
        said.add(event["code"])
        axis.axvline(event["step"], color="#a00000", lw=0.8, ls=":")
        axis.annotate(
            event["code"], (event["step"], 1), xycoords=("data", "axes fraction"), rotation=90, va="top",
            ha="right", fontsize=7, color="#a00000",
        )  # fmt: skip


def _positive(rows: Sequence[Row], field: str) -> tuple[list[int], list[float]]:
    return [r["step"] for r in rows], [r[field] if (r[field] or 0) > 0 else math.nan for r in rows]


def titled(axis: "Axes", text: str) -> None:
    """Give an axis its title."""
    axis.set_title(_plain(text), loc="left", fontsize=10)


def _log(axis: "Axes") -> None:
    values = [v for line in axis.lines for v in np.asarray(line.get_ydata(), dtype=float) if v > 0]
    if values and max(values) / min(values) > 3:
        axis.set_yscale("log")


def _plain(text: str) -> str:
    """Text that is shown as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def _short(name: str, most: int = 38) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"

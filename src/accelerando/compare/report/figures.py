"""Panels made into SVG for the page and into PNG files; matplotlib, without pyplot's global state.

What all panels of a kind share is drawn once.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np

from . import panels
from .digest import Digest, Row
from .markup import Safe, tag
from .panels import Panel
from .words import Words

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: the page's fonts, any script, selectable
    "svg.hashsalt": "accelerando",
    "font.size": 8.5,
    "axes.unicode_minus": True,
    "axes.labelcolor": panels.INK,
    "text.color": panels.INK,
}
_VARIABLES = {
    panels.INK: "currentColor",
    panels.FAINT: "var(--faint)",
    panels.GRID: "var(--grid)",
    panels.ACCENT: "var(--accent)",
    panels.SECOND: "var(--second)",
}
_CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Sarasa Gothic SC"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti SC", "STHeiti", "Microsoft YaHei", "DengXian", "SimHei"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP", "Songti SC", "SimSun"),
    *("AR PL UMing CN", "Droid Sans Fallback", "Arial Unicode MS"),
)
_CHINESE_FILES = (
    "cjk",
    "notosanssc",
    "sourcehansans",
    "heiti",
    "hiragino",
    "pingfang",
    "wqy",
    "uming",
    "fallback",
)
_SIZE = (2.55, 1.75)
_CELL = (2.9, 2.3)
_DPI = 150


def warm() -> None:
    """Import what drawing takes, while there is nothing to draw yet."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure
    import matplotlib.image  # noqa: F401


def inline(panel: Panel, digest: Digest, rows: Sequence[Row], key: str, labels: Sequence[str]) -> list[Safe]:
    """A panel for each of some strategies, as SVG elements of the page.

    The first one holds the frame, with axes and ticks, and the others refer to it.

    Args:
        panel: what to draw.
        digest: all rows, for the common axes and the grey lines.
        rows: the strategies that come in colour.
        key: unique on the page; every id of the drawings begins with it.
        labels: the text alternatives, for those who cannot see a panel.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not rows:
        return []
    with rc_context(_SETTINGS):
        figure = Figure(figsize=_SIZE)
        figure.subplots_adjust(left=0.14, right=0.955, bottom=0.13, top=0.97)
        figure.patch.set_visible(False)
        axes = panel.frame(figure, digest)
        for part in axes:
            part.patch.set_visible(False)
        view, frame = split(cleaned(_svg(figure), key))
        _hide(axes)
        frames = [f'<g id="{key}-frame">{frame}</g>', *[f'<use href="#{key}-frame"/>'] * (len(rows) - 1)]
        drawn = []
        for index, (row, label, below) in enumerate(zip(rows, labels, frames, strict=True)):
            with _drawn(panel, axes, row):
                _, body = split(cleaned(_svg(figure), f"{key}-{index}"))
            svg = f'<svg viewBox="{view}" aria-hidden="true">{below}{body}</svg>'
            drawn.append(tag("div", Safe(svg), class_="plot", role="img", aria_label=label))
    return drawn


def _svg(figure: Any) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = StringIO()
    FigureCanvasSVG(figure).print_svg(written, metadata=_NO_METADATA)
    return written.getvalue()


def _hide(axes: Iterable[Any]) -> None:
    """Leave out of what is drawn from now on what has been drawn already; the axes keep their scales."""
    for part in axes:
        for artist in part.get_children():
            artist.set_visible(False)


@contextmanager
def _drawn(panel: Panel, axes: tuple[Any, ...], row: Row) -> Iterator[list[Any]]:
    """What a strategy adds to the axes, from below to above; taken away again."""
    before = {id(artist) for part in axes for artist in part.get_children()}
    panel.row(axes, row)
    added = [artist for part in axes for artist in part.get_children() if id(artist) not in before]
    try:
        yield sorted(added, key=lambda artist: artist.zorder)
    finally:
        for artist in added:
            artist.remove()


def cleaned(svg: str, key: str) -> str:
    """The drawing without prologue, metadata, addresses and fixed sizes; its ids begin with `key`."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', body, count=1)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{key}-\1"', body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)


def split(svg: str) -> tuple[str, str]:
    """The view box of a cleaned drawing, and what is in it."""
    found = re.fullmatch(r'<svg viewBox="([^"]*)">(.*)</svg>\s*', svg, flags=re.DOTALL)
    assert found is not None, svg[:200]
    return found[1], found[2]


def readable(say: Words) -> Words:
    """The words for titles in pixels: English ones for Chinese where no font is found that has Chinese."""
    return say if say.lang != "zh" or chinese() else Words("en")


@cache
def chinese() -> str:
    """A font that has Chinese characters, of those that matplotlib knows or finds on this machine; empty for none."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    def known() -> str:
        names = {font.name for font in fontManager.ttflist}
        return next((name for name in _CHINESE if name in names), "")

    if not known():  # it remembers the fonts that there were when it first ran
        for path in sorted(findSystemFonts()):
            if any(part in Path(path).name.lower() for part in _CHINESE_FILES):
                with suppress(OSError, RuntimeError):  # a font that it cannot read
                    fontManager.addfont(path)
    return known()


def png(panel: Panel, digest: Digest, key: str, say: Words) -> bytes:
    """The panel of every strategy that ran in one picture; the same bytes for the same digest on one machine."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.image import imsave

    rows = [row for row in digest.rows if row.ran]
    columns = min(4, len(rows))
    words = readable(say)
    fonts = ["DejaVu Sans", chinese()] if words.lang == "zh" else ["DejaVu Sans"]
    with rc_context({**_SETTINGS, "font.size": 9, "font.family": fonts}):
        head: Any = Figure(figsize=(_CELL[0] * columns, 0.6), dpi=_DPI)
        head.text(0.15 / columns, 0.6, words(key), fontsize=13, fontweight="bold", va="center")
        head.text(0.15 / columns, 0.12, f"↑ {words(f'{key}.y')}   → {words(f'{key}.x')}", fontsize=9)
        cells = _cells(panel, digest, rows)
        title = _pixels(head)
    empty = [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    tiles = [*cells, *empty]
    lines = [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
    picture = np.vstack([title[:, : lines[0].shape[1]], *lines])
    written = BytesIO()
    imsave(
        written,
        picture,
        format="png",
        dpi=_DPI,
        metadata={"Software": "accelerando"},
        pil_kwargs={"compress_level": 1},
    )
    return written.getvalue()


def _cells(panel: Panel, digest: Digest, rows: Sequence[Row]) -> list[Any]:
    """The pixels of each strategy's panel: the frame is drawn once, and every strategy onto a copy of it."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=_CELL, dpi=_DPI)
    figure.subplots_adjust(left=0.15, right=0.955, bottom=0.13, top=0.88)
    axes = panel.frame(figure, digest)
    _pixels(figure)
    frame = figure.canvas.copy_from_bbox(figure.bbox)
    cells = []
    for row in rows:
        figure.canvas.restore_region(frame)
        name = figure.text(0.15, 0.92, _literal(row.name), fontsize=9, fontweight="bold")
        with _drawn(panel, axes, row) as added:
            for artist in (name, *added):
                artist.draw(figure.canvas.get_renderer())
            cells.append(np.array(figure.canvas.buffer_rgba()))
        name.remove()
    return cells


def _pixels(figure: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


_AUTHOR = {"Software": "accelerando"}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def _literal(name: str) -> str:
    """A name as it is: a dollar sign would start mathematics, and a long one would leave its panel."""
    short = name if len(name) <= 34 else name[:33] + "…"
    return short.replace("$", r"\$")

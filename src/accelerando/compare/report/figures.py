"""Panels made into SVG for the page and into PNG files; matplotlib, without its global state."""

import math
import re
from collections.abc import Callable
from io import BytesIO, StringIO
from typing import Any, TypeAlias

from . import panels
from .digest import Digest, Row
from .markup import Safe, tag
from .words import Words

Panel: TypeAlias = Callable[[Any, Digest, Row], None]

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
_SIZE = (2.55, 1.75)


def warm() -> None:
    """Import what drawing takes, while there is nothing to draw yet."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401


def inline(panel: Panel, digest: Digest, row: Row, key: str, label: str) -> Safe:
    """One panel as an SVG element of the page, reading `label` to those who cannot see it.

    Args:
        panel: what to draw.
        digest: all rows, for the common axes and the grey lines.
        row: the strategy in colour.
        key: unique on the page; every id of the drawing begins with it.
        label: the text alternative.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):
        figure = Figure(figsize=_SIZE)
        figure.subplots_adjust(left=0.14, right=0.955, bottom=0.13, top=0.97)
        panel(figure, digest, row)
        written = StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=_NO_METADATA)
    return tag("div", Safe(cleaned(written.getvalue(), key)), class_="plot", role="img", aria_label=label)


def cleaned(svg: str, key: str) -> str:
    """The drawing without prologue, metadata, addresses and fixed sizes; its ids begin with `key`."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', body, count=1
    )
    body = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{key}-\1"', body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)


def png(panel: Panel, digest: Digest, key: str) -> bytes:
    """Every strategy's panel in one picture, with English titles; the same bytes for the same digest."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [row for row in digest.rows if row.ran]
    columns = min(4, max(1, len(rows)))
    lines = max(1, math.ceil(len(rows) / columns))
    words = Words("en")
    with rc_context({**_SETTINGS, "font.size": 9}):
        figure: Any = Figure(figsize=(2.9 * columns, 2.3 * lines + 0.6))
        figure.subplots_adjust(left=0.15, right=0.955, bottom=0.13, top=0.88)
        head, body = figure.subfigures(2, 1, height_ratios=(0.6, 2.3 * lines))
        head.text(0.15 / columns, 0.6, words(key), fontsize=13, fontweight="bold", va="center")
        head.text(0.15 / columns, 0.12, f"↑ {words(f'{key}.y')}   → {words(f'{key}.x')}", fontsize=9)
        grid = body.subfigures(lines, columns, squeeze=False)
        for cell, row in zip(grid.flat, rows, strict=False):
            cell.text(0.15, 0.92, _literal(row.name), fontsize=9, fontweight="bold")
            panel(cell, digest, row)
        written = BytesIO()
        figure.savefig(written, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return written.getvalue()


_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def _literal(name: str) -> str:
    """A name as it is: a dollar sign would start mathematics, and a long one would leave its panel."""
    short = name if len(name) <= 34 else name[:33] + "…"
    return short.replace("$", r"\$")

"""The three rows of panels: loss against rate, loss over time, rates over time."""

from collections.abc import Callable

from . import numbers, verdict
from .digest import Digest, Row
from .figures import inline
from .markup import Safe, breakable, tag
from .panels import PANELS
from .words import Words


def robustness(digest: Digest, say: Words) -> Safe:
    """Loss against rate."""

    def described(row: Row) -> tuple[str, str]:
        tight, wide = (numbers.decades(value) for value in row.decades)
        best = min(row.curve, key=lambda rate: row.curve[rate])
        alt = say(
            "robustness.alt",
            name=row.name,
            loss=numbers.loss(row.curve[best]),
            rate=numbers.rate(best),
            decades=tight,
        )
        return alt, say("robustness.caption", decades=tight, wide=wide)

    rows = [row for row in digest.rows if row.curve]
    note = say("robustness.note", centre=say(f"centre.{digest.scale}"))
    return _section("robustness", digest, rows, say, note, described)


def curves(digest: Digest, say: Words) -> Safe:
    """Held-out loss over time."""

    def described(row: Row) -> tuple[str, str]:
        ended = numbers.loss(row.summary.median)
        alt = say("curves.alt", name=row.name, steps=digest.experiment.steps, loss=ended)
        return alt, numbers.chosen(row)

    rows = [row for row in digest.rows if row.ran]
    return _section("curves", digest, rows, say, say("curves.note"), described)


def rates(digest: Digest, say: Words) -> Safe:
    """Nominal rate, gain, effective rate and alignment."""

    def described(row: Row) -> tuple[str, str]:
        rose = verdict.rise(row, say)
        return say("rates.alt", name=row.name, rise=rose), rose

    rows = [row for row in digest.rows if row.rise.of]
    if not rows:
        return tag("section", tag("h2", say("rates")), tag("p", say("rates.none")), id="rates")
    return _section("rates", digest, rows, say, say("rates.note"), described, _legend(say))


def _section(
    key: str,
    digest: Digest,
    rows: list[Row],
    say: Words,
    note: str,
    described: Callable[[Row], tuple[str, str]],
    legend: Safe | None = None,
) -> Safe:
    said = [described(row) for row in rows]
    drawn = inline(PANELS[key], digest, rows, key, [alt for alt, _ in said])
    figures = []
    for row, (_, caption), plot in zip(rows, said, drawn, strict=True):
        head = tag(
            "figcaption",
            tag("span", breakable(row.name), class_="name"),
            tag("span", caption, class_="small"),
        )
        figures.append(tag("figure", head, plot))
    axes = tag(
        "p", tag("span", "↑ ", say(f"{key}.y")), tag("span", "→ ", say(f"{key}.x")), legend, class_="axes"
    )
    return tag(
        "section",
        tag("h2", say(key)),
        tag("p", note, class_="note"),
        axes,
        tag("div", *figures, class_="panels"),
        id=key,
    )


def _legend(say: Words) -> Safe:
    styles = (
        ("rates.nominal", "currentColor", "5 3", 1.5),
        ("rates.gain", "var(--accent)", None, 2.2),
        ("rates.effective", "var(--second)", "1.5 2", 1.8),
    )
    keys = []
    for name, colour, dashes, width in styles:
        line = tag(
            "line", x1=0, x2=35, y1=5, y2=5, stroke=colour, stroke_width=width, stroke_dasharray=dashes
        )
        keys.append(
            tag("span", tag("svg", line, viewBox="0 0 35 10", aria_hidden="true"), say(name), class_="key")
        )
    return tag(
        "span", *keys, tag("span", "↓ ", say("rates.alignment"), class_="key"), style="display:contents"
    )

"""The table of results: one row a strategy, every fresh seed visible."""

import math

from ..statistics import Scale
from . import numbers, verdict
from .digest import Digest, Row
from .markup import Safe, breakable, tag
from .words import Words


def results(digest: Digest, say: Words) -> Safe:
    """The section with the table; what did not run comes last, with its reason."""
    experiment = digest.experiment
    heads = _heads(digest, say)
    span = _span(digest)
    lines = [_line(row, digest, say, heads, span) for row in digest.ranked]
    lines += [_off(row, say, len(heads)) for row in digest.rows if not row.ran]
    note = say(
        "results.note",
        centre=say(f"centre.{digest.scale}"),
        baseline=experiment.baseline,
        count=sum(row.versus is not None for row in digest.rows),
    )
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads.values())))
    table = tag("table", head, tag("tbody", *lines), class_="cards")
    return tag(
        "section",
        tag("h2", say("results")),
        tag("p", note, class_="note"),
        tag("div", table, class_="wide"),
        id="results",
    )


def _heads(digest: Digest, say: Words) -> dict[str, str]:
    task = digest.experiment.task
    heads = {name: say(f"column.{name}") for name in ("strategy", "rate", "loss")}
    low, high = _span(digest)
    scale = say(f"strip.{digest.scale}")
    ends = say("strip.scale", low=numbers.loss(low), high=numbers.loss(high), scale=scale)
    heads["loss"] = f"{heads['loss']}; {say('column.seeds')}, {ends}"
    if task["metric"] != "loss":
        heads["metric"] = say("column.metric", metric=task["metric"])
    heads["effect"] = say("column.effect", baseline=digest.experiment.baseline)
    heads["verdict"] = say("column.verdict")
    heads["robust"] = say("column.robust")
    heads["rise"] = say("column.rise")
    if task.get("target") is not None:
        heads["target"] = say("column.target", target=numbers.loss(task["target"]))
    return heads


def _line(row: Row, digest: Digest, say: Words, heads: dict[str, str], span: tuple[float, float]) -> Safe:
    p = f"p = {numbers.p_value(row.versus.adjusted)}" if row.versus else None
    verdict_class = "baseline" if row.versus is None else row.versus.verdict.split()[0]
    cells = {
        "strategy": tag(
            "th", tag("span", breakable(row.name), class_="name"), _small(_remarks(row, say)), scope="row"
        ),
        "rate": _cell(heads["rate"], numbers.chosen(row), class_="num"),
        "loss": _cell(
            say("column.loss"),
            tag("span", numbers.interval(row.summary), strip(row, digest, span), _small(_lost(row, say))),
            class_="strip",
        ),
        "metric": _cell(heads.get("metric", ""), numbers.share(row.metric)),
        "effect": _cell(heads["effect"], *_effect(row, digest), class_="effect"),
        "verdict": _cell(
            heads["verdict"],
            tag(
                "span",
                tag("span", verdict.standing(row, digest, say), class_=f"verdict {verdict_class}"),
                _small(p),
            ),
        ),
        "robust": _cell(
            heads["robust"],
            tag("span", numbers.decades(row.decades[0]), _small(_wide(row, say))),
        ),
        "rise": _cell(
            heads["rise"],
            tag(
                "span",
                verdict.rise(row, say),
                _small(say("rise.note", nominal=verdict.nominal(row, say))),
            ),
            class_="rise",
        ),
        "target": _cell(heads.get("target", ""), _reached(row, say)),
    }
    return tag("tr", *(cells[name] for name in heads))


def _off(row: Row, say: Words, columns: int) -> Safe:
    reason = row.reason
    text = say("not_run") if row.about.get("not_run") else say("no_result")
    return tag(
        "tr",
        tag("th", tag("span", breakable(row.name), class_="name"), scope="row"),
        tag("td", f"{text}: {reason}" if reason else text, colspan=columns - 1, data_label=""),
        class_="off",
    )


def strip(row: Row, digest: Digest, span: tuple[float, float]) -> Safe:
    """Every fresh seed as a circle, the centre and its interval as a bar; a cross for a diverged seed."""
    marks = [
        tag(
            "circle",
            cx=f"{_place(loss, span, digest.scale):.1f}",
            cy=10,
            r=3,
            fill="none",
            stroke="currentColor",
            opacity=0.55,
        )
        for loss in row.losses.values()
        if math.isfinite(loss)
    ]
    if row.summary.diverged:
        cross = {"x1": 196, "x2": 204, "stroke": "currentColor", "stroke_width": 1.5}
        marks += [tag("line", y1=6, y2=14, **cross), tag("line", y1=14, y2=6, **cross)]
    line = tag("line", x1=0, x2=200, y1=10, y2=10, stroke="var(--line)")
    bar = []
    if math.isfinite(row.summary.low):
        low, high, centre = (
            _place(v, span, digest.scale) for v in (row.summary.low, row.summary.high, row.summary.centre)
        )
        thick = {"stroke": "var(--accent)", "stroke_width": 2.5}
        bar = [
            tag("line", x1=f"{low:.1f}", x2=f"{high:.1f}", y1=10, y2=10, **thick),
            tag("line", x1=f"{centre:.1f}", x2=f"{centre:.1f}", y1=3, y2=17, **thick),
        ]
    return tag("svg", line, *marks, *bar, viewBox="-4 0 212 20", aria_hidden="true")


def _place(value: float, span: tuple[float, float], scale: Scale) -> float:
    """Where a loss lies on a strip of length 200."""
    low, high = span
    if scale == "log":
        low, high, value = math.log(low), math.log(high), math.log(value)
    return min(200.0, max(0.0, 200 * (value - low) / ((high - low) or 1.0)))


def _span(digest: Digest) -> tuple[float, float]:
    losses = [loss for row in digest.ranked for loss in row.losses.values() if math.isfinite(loss)]
    return (min(losses), max(losses)) if losses else (0.1, 1.0)


def _remarks(row: Row, say: Words) -> str | None:
    remarks = []
    if row.extended:
        remarks.append(say("edge.extended", rates=", ".join(map(numbers.rate, row.extended))))
    if row.edge:
        remarks.append(say(f"edge.{row.edge}"))
    return "; ".join(remarks) or None


def _lost(row: Row, say: Words) -> str | None:
    if not row.summary.diverged:
        return None
    return say("diverged", count=row.summary.diverged, n=row.summary.n)


def _reached(row: Row, say: Words) -> Safe:
    if row.reached is None or not row.reached[0]:
        return tag("span", say("column.never") if row.reached else numbers.NONE)
    count, steps = row.reached
    some = say("column.reached", seeds=count, of=len(row.losses)) if count < len(row.losses) else None
    return tag("span", f"{steps:g}", _small(some))


def _effect(row: Row, digest: Digest) -> tuple[object, ...]:
    if row.versus is None:
        return (numbers.NONE,)
    centre, _, ends = numbers.effect(row.versus, digest.scale).partition(" ")
    return (tag("span", centre, _small(ends)),)


def _wide(row: Row, say: Words) -> str | None:
    if math.isnan(row.decades[1]):
        return None
    return f"{say('column.robust2')}: {numbers.decades(row.decades[1])}"


def _cell(label: str, *children: object, class_: str | None = None) -> Safe:
    return tag("td", *children, data_label=label, class_=class_)


def _small(text: str | None) -> Safe | None:
    return tag("span", text, class_="small") if text else None

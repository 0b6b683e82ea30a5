"""The report as one HTML file that opens offline, asks nobody for anything and needs no script."""

from importlib.resources import files

from . import numbers, verdict
from .digest import Digest, Row
from .folk import claims
from .gallery import curves, rates, robustness
from .markup import Safe, breakable, joined, tag
from .table import results
from .words import Words

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(digest: Digest, say: Words) -> str:
    """The whole document."""
    task = digest.experiment.task
    title = say("title", task=say.task(task.get("title") or task["name"]))
    sections = (results, folk, robustness, curves, rates, time, errors, ran)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("style", Safe(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))),
    )
    main = tag("main", _header(digest, say), *(section(digest, say) for section in sections))
    return "<!doctype html>\n" + tag("html", head, tag("body", main), lang=say("html.lang")) + "\n"


def _header(digest: Digest, say: Words) -> Safe:
    experiment = digest.experiment
    facts = say(
        "facts",
        trials=f"{digest.trials:,}",
        steps=f"{experiment.steps:,}",
        rates=len(experiment.rates),
        tune=len(experiment.tune_seeds),
        fresh=len(experiment.fresh_seeds),
        device=experiment.device,
    )
    title = say.task(experiment.task.get("title") or experiment.task["name"])
    anchors = ("results", "folk", "robustness", "curves", "rates", "time", "errors", "ran")
    return tag(
        "header",
        tag("p", say("eyebrow"), " · ", title, class_="eyebrow"),
        tag("h1", breakable(verdict.headline(digest, say))),
        tag("p", verdict.rises(digest, say), class_="second"),
        tag("p", facts, class_="facts"),
        tag("nav", *(tag("a", say(name), href=f"#{name}") for name in anchors)),
    )


def folk(digest: Digest, say: Words) -> Safe:
    """The common advice, claim by claim."""
    rows = [
        tag(
            "tr",
            tag("th", say(claim.key), scope="row"),
            tag(
                "td",
                tag(
                    "span",
                    say(f"folk.standing.{claim.standing}"),
                    class_=f"verdict {claim.standing.split()[0]}",
                ),
                data_label=say("folk.column.standing"),
            ),
            tag("td", say.fill(*claim.measured), data_label=say("folk.column.measured")),
        )
        for claim in claims(digest)
    ]
    heads = [tag("th", say(f"folk.column.{name}"), scope="col") for name in ("claim", "standing", "measured")]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="cards")
    return tag("section", tag("h2", say("folk")), tag("p", say("folk.note"), class_="note"), table, id="folk")


def time(digest: Digest, say: Words) -> Safe:
    """Seconds a step, and to the target: the only numbers that depend on the machine."""
    timed = sorted((row for row in digest.rows if row.step_seconds > 0), key=lambda row: row.step_seconds)
    if not timed:
        return tag("section", tag("h2", say("time")), tag("p", say("time.none")), id="time")
    longest = timed[-1].step_seconds
    target = digest.experiment.task.get("target")
    heads = [say("column.strategy"), say("column.time"), ""]
    if target is not None:
        heads.append(say("time.to_target", target=numbers.loss(target)))
    lines = []
    for row in timed:
        bar = tag("span", class_="bar", style=f"width:{100 * row.step_seconds / longest:.1f}%")
        cells = [
            tag("th", breakable(row.name), scope="row", class_="name"),
            tag("td", numbers.seconds(row.step_seconds), class_="num", data_label=heads[1]),
            tag("td", bar, style="width:50%", data_label="", aria_hidden="true"),
        ]
        if row.reached is not None:
            reached = f"{row.reached[1] * row.step_seconds:.2f} s" if row.reached[0] else say("column.never")
            cells.append(tag("td", reached, class_="num", data_label=heads[3]))
        lines.append(tag("tr", *cells))
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads)))
    note = tag("p", say("time.note"), class_="note")
    table = tag("table", head, tag("tbody", *lines), class_="cards")
    return tag("section", tag("h2", say("time")), note, table, id="time")


def errors(digest: Digest, say: Words) -> Safe:
    """Every trial that ended in an error, with its place; and how many diverged."""
    parts = []
    diverged = sum(o.status == "diverged" for o in digest.outcomes)
    failed = [outcome for row in digest.rows for outcome in row.errors]
    if diverged:
        parts.append(tag("p", say("errors.diverged", count=diverged, trials=digest.trials)))
    if not failed and not diverged:
        parts.append(tag("p", say("errors.none")))
    items = []
    for outcome in failed:
        trial = outcome.trial
        what = say(
            "errors.trial", strategy=trial.strategy, rate=numbers.rate(trial.rate), seed=str(trial.seed)
        )
        trace = outcome.traceback and tag(
            "details", tag("summary", say("errors.traceback")), tag("pre", outcome.traceback)
        )
        place = tag("span", outcome.place, class_="small name")
        items.append(tag("li", tag("strong", what), ": ", outcome.message, place, trace or None))
    if items:
        parts.append(tag("ul", *items))
    return tag("section", tag("h2", say("errors")), *parts, id="errors")


def ran(digest: Digest, say: Words) -> Safe:
    """What was run, on what, and the command that runs it again."""
    pairs = [(tag("dt", label), tag("dd", content)) for label, content in facts(digest, say)]
    return tag(
        "section",
        tag("h2", say("ran")),
        tag("p", say("ran.protocol"), class_="note"),
        tag("pre", digest.experiment.command),
        tag("dl", joined([part for pair in pairs for part in pair])),
        id="ran",
    )


def facts(digest: Digest, say: Words) -> list[tuple[str, str]]:
    """Labels and contents of what was run, for every form of the report."""
    experiment, task = digest.experiment, digest.experiment.task
    described = ": ".join(say.task(part) for part in (task.get("title"), task.get("description")) if part)
    return [
        (say("ran.task"), f"{task['name']} – {described}" if described else task["name"]),
        (say("ran.identity"), str(task.get("hash", ""))),
        (say("ran.budget"), say("ran.updates", steps=f"{experiment.steps:,}", evals=experiment.evals)),
        (say("ran.rates"), ", ".join(map(numbers.rate, experiment.rates))),
        (say("ran.tune"), ", ".join(map(str, experiment.tune_seeds))),
        (say("ran.fresh"), ", ".join(map(str, experiment.fresh_seeds))),
        (say("ran.baseline"), experiment.baseline),
        (say("ran.strategies"), "; ".join(map(_described, digest.rows))),
        (say("ran.device"), experiment.device),
        (say("ran.versions"), ", ".join(f"{name} {version}" for name, version in experiment.versions)),
    ]


def _described(row: Row) -> str:
    note = str(row.about.get("note") or "")
    return f"{row.name} ({note})" if note else row.name

"""The report as Markdown: only what is the same whenever the same trials are run. No clock, no machine."""

from . import numbers, verdict
from .digest import Digest, Row
from .folk import claims
from .page import facts
from .words import Words


def markdown(digest: Digest, say: Words) -> str:
    """The whole document."""
    task = digest.experiment.task
    parts = [
        f"# {plain(say('title', task=say.task(task.get('title') or task['name'])))}",
        plain(verdict.headline(digest, say)),
        plain(verdict.rises(digest, say)),
        f"## {say('results')}",
        plain(_note(digest, say)),
        _results(digest, say),
        f"## {say('robustness')}",
        _robustness(digest, say),
        f"## {say('folk')}",
        plain(say("folk.note")),
        _folk(digest, say),
        f"## {say('errors')}",
        _errors(digest, say),
        f"## {say('ran')}",
        plain(say("ran.protocol")),
        "\n".join(f"    {line}" for line in digest.experiment.command.splitlines()),
        "\n".join(f"- {label}: {plain(content)}" for label, content in facts(digest, say)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no table border, one line."""
    shown = " ".join(str(text).split())
    for character in ("\\", "`", "*", "_", "[", "]", "<", ">", "|", "#"):
        shown = shown.replace(character, "\\" + character)
    return shown


def _note(digest: Digest, say: Words) -> str:
    count = sum(row.versus is not None for row in digest.rows)
    centre = say(f"centre.{digest.scale}")
    return say("results.note", centre=centre, baseline=digest.experiment.baseline, count=count)


def _results(digest: Digest, say: Words) -> str:
    metric, baseline = digest.experiment.task["metric"], digest.experiment.baseline
    heads = [
        say("column.strategy"),
        say("column.rate"),
        say("column.loss"),
        say("column.metric", metric=metric),
        say("column.effect", baseline=baseline),
        say("column.p"),
        say("column.verdict"),
        say("column.robust"),
        say("column.rise"),
        say("column.nominal"),
    ]
    lines = [_result(row, digest, say) for row in digest.ranked]
    for row in digest.rows:
        if not row.ran:
            text = say("not_run") if row.about.get("not_run") else say("no_result")
            reason = f"{text}: {row.reason}" if row.reason else text
            lines.append([row.name, reason, *[""] * (len(heads) - 2)])
    return table(heads, lines)


def _result(row: Row, digest: Digest, say: Words) -> list[str]:
    loss = numbers.interval(row.summary)
    if row.summary.diverged:
        loss += f"; {say('diverged', count=row.summary.diverged, n=row.summary.n)}"
    edge = f"; {say(f'edge.{row.edge}')}" if row.edge else ""
    return [
        row.name,
        numbers.chosen(row) + edge,
        loss,
        numbers.share(row.metric),
        numbers.effect(row.versus, digest.scale) if row.versus else numbers.NONE,
        numbers.p_value(row.versus.adjusted) if row.versus else numbers.NONE,
        verdict.standing(row, digest, say),
        numbers.decades(row.decades[0]),
        verdict.rise(row, say),
        verdict.nominal(row, say),
    ]


def _robustness(digest: Digest, say: Words) -> str:
    rates = sorted({rate for row in digest.rows for rate in row.curve})
    heads = [say("column.strategy"), *map(numbers.rate, rates), say("column.robust"), say("column.robust2")]
    lines = [
        [
            row.name,
            *(numbers.loss(row.curve[rate]) if rate in row.curve else numbers.NONE for rate in rates),
            *map(numbers.decades, row.decades),
        ]
        for row in digest.rows
        if row.curve
    ]
    return table(heads, lines) if lines else ""


def _folk(digest: Digest, say: Words) -> str:
    heads = [say(f"folk.column.{name}") for name in ("claim", "standing", "measured")]
    lines = [
        [say(claim.key), say(f"folk.standing.{claim.standing}"), say.fill(*claim.measured)]
        for claim in claims(digest)
    ]
    return table(heads, lines)


def _errors(digest: Digest, say: Words) -> str:
    failed = [outcome for row in digest.rows for outcome in row.errors]
    diverged = sum(outcome.status == "diverged" for outcome in digest.outcomes)
    lines = [plain(say("errors.diverged", count=diverged, trials=digest.trials))] if diverged else []
    for outcome in failed:
        trial = outcome.trial
        what = say(
            "errors.trial", strategy=trial.strategy, rate=numbers.rate(trial.rate), seed=str(trial.seed)
        )
        where = f" ({outcome.place})" if outcome.place else ""
        lines.append(f"- {plain(f'{what}: {outcome.message}{where}')}")
    return "\n".join(lines) or plain(say("errors.none"))


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; every cell is shown as it is."""
    rows = [
        list(map(plain, heads)),
        ["---"] * len(heads),
        *([plain(cell) for cell in line] for line in lines),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

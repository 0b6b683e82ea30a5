"""The report: one folder anyone can open, rebuilt from the records whenever asked."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..records import Experiment, Outcome, canonical, plain
from .apart import Apart
from .digest import Digest, digest
from .words import Language, Words

__all__ = ["Apart", "terminal", "warm", "write"]


def warm() -> None:
    """Import what `write` takes, while there is nothing to write yet."""
    from . import figures, page  # noqa: F401

    figures.warm()


def write(
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    folder: Path,
    lang: Language = "en",
    apart: Apart | None = None,
) -> list[Path]:
    """Write the report; files of an earlier one are replaced.

    Args:
        experiment: what was asked and chosen.
        outcomes: of all trials, in any order.
        folder: is made where it is missing.
        lang: of ``report.html`` and ``report.md``; the PNG figures are in English.
        apart: the process that draws the PNG figures; one is started if none is given.

    Returns:
        ``report.html``, ``report.md`` (the same bytes for the same results), ``timing.json`` (the clock's
        part) and the figures as PNG files.
    """
    from .markdown import markdown
    from .page import page

    folder.mkdir(parents=True, exist_ok=True)
    with apart or Apart() as drawing:
        made, say = digest(experiment, outcomes), Words(lang)
        if made.ranked:
            drawing.begin(made)
        timing = json.dumps(plain(_timing(made)), indent=1, ensure_ascii=False, allow_nan=False)
        texts = {
            "report.html": page(made, say),
            "report.md": markdown(made, say),
            "timing.json": timing + "\n",
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        figures = drawing.end(folder) if made.ranked else []
    return [folder / name for name in texts] + figures


def terminal(
    experiment: Experiment, outcomes: Sequence[Outcome], lang: Language = "en", folder: Path | None = None
) -> Any:
    """What a run ends with in a terminal: a table, the verdict and the folder, as a rich renderable."""
    from .console import Board

    return Board(digest(experiment, outcomes), Words(lang), folder)


def _timing(made: Digest) -> dict[str, Any]:
    return {
        "strategies": {
            row.name: {
                "seconds_per_step": row.step_seconds,
                "seconds_to_target": row.reached[1] * row.step_seconds if row.reached else None,
            }
            for row in made.rows
            if row.ran
        },
        "trials": {o.trial.id: o.seconds for o in sorted(made.outcomes, key=lambda o: canonical(o.trial.id))},
    }

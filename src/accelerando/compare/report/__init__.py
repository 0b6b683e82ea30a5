"""The report: one folder anyone can open, rebuilt from the records whenever asked."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..records import Experiment, Outcome, canonical, plain
from .digest import Digest, digest
from .words import Language, Words

__all__ = ["terminal", "titled", "warm", "write"]


def warm() -> None:
    """Import what `write` takes, while there is nothing to write yet."""
    from . import figures, page  # noqa: F401

    figures.warm()


def write(
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    folder: Path,
    lang: Language = "en",
) -> list[Path]:
    """Write the report; files of an earlier one are replaced.

    Args:
        experiment: what was asked and chosen.
        outcomes: of all trials, in any order.
        folder: is made where it is missing.
        lang: of all of it; the titles of the PNG figures stay English where `titled` finds no font.

    Returns:
        ``report.html``, ``report.md`` (the same bytes for the same results), ``timing.json`` (the clock's
        part) and the figures as PNG files.
    """
    from .figures import png
    from .markdown import markdown
    from .page import page
    from .panels import PANELS

    folder.mkdir(parents=True, exist_ok=True)
    made, say = digest(experiment, outcomes), Words(lang)
    timing = json.dumps(plain(_timing(made)), indent=1, ensure_ascii=False, allow_nan=False)
    written: dict[str, bytes] = {
        "report.html": page(made, say).encode(),
        "report.md": markdown(made, say).encode(),
        "timing.json": f"{timing}\n".encode(),
    }
    if made.ranked:
        written |= {f"{key}.png": png(panel, made, key, say) for key, panel in PANELS.items()}
    for name, content in written.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in written]


def titled(lang: Language) -> bool:
    """Whether the PNG figures have titles in that language: for Chinese there may be no font."""
    from .figures import readable

    return readable(Words(lang)).lang == lang


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

"""Several comparisons at once: on how many tasks is a strategy among the fastest to a target?"""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

from ...errors import TaskError
from .. import statistics
from ..profiles import Profile, profiles
from ..records import Experiment, Outcome
from . import numbers
from .digest import Digest, digest
from .markdown import plain, table
from .panels import FAINT, INK
from .words import Language, Words

_UNTIL = 4.0
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def write_profiles(
    comparisons: Sequence[tuple[Experiment, Sequence[Outcome]]], folder: Path, lang: Language = "en"
) -> list[Path]:
    """Write ``profiles.md`` and ``profiles.png``: performance profiles over the tasks of the comparisons.

    A strategy's cost on a task is the median over its fresh seeds of the steps to the task's target; where
    a task has none, to the loss that the baseline ends with. A seed that never gets there costs ``inf``.

    Raises:
        TaskError: there are fewer than two tasks, one occurs twice, or no strategy ran on all of them.
    """
    digests = [digest(experiment, outcomes) for experiment, outcomes in comparisons]
    names = [str(made.experiment.task["name"]) for made in digests]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise TaskError(f"profiles: two or more different tasks are needed, got {', '.join(names)}")
    costs = {name: costs_of(made) for name, made in zip(names, digests, strict=True)}
    found = profiles(costs)
    if not found:
        raise TaskError(
            "profiles: no strategy has a result on every task; compare the same strategies on each"
        )
    folder.mkdir(parents=True, exist_ok=True)
    text, picture = folder / "profiles.md", folder / "profiles.png"
    text.write_text(_markdown(found, costs, digests, Words(lang)), encoding="utf-8")
    picture.write_bytes(_png(found))
    return [text, picture]


def costs_of(made: Digest) -> dict[str, float]:
    """Strategy → median steps to the target; empty where there is neither a target nor a baseline."""
    target = target_of(made)
    if target is None:
        return {}
    costs = {}
    for row in made.ranked:
        steps = [statistics.steps_to(outcome.evals, target) for outcome in row.fresh]
        costs[row.name] = max(1.0, median([math.inf if step is None else step for step in steps]))
    return costs


def target_of(made: Digest) -> float | None:
    """The task's target, else the median loss that the baseline ends with; None without either."""
    declared = made.experiment.task.get("target")
    if declared is not None:
        return float(declared)
    base = made.baseline
    return base.summary.median if base is not None and math.isfinite(base.summary.median) else None


def _markdown(
    found: list[Profile], costs: dict[str, dict[str, float]], digests: list[Digest], say: Words
) -> str:
    targets = [
        f"- {plain(name)}: {numbers.loss(target)}"
        for name, target in zip(costs, map(target_of, digests), strict=True)
        if target is not None
    ]
    heads = [
        say("column.strategy"),
        say("profiles.score"),
        *(numbers.factor(tau) for tau in (1.0, 2.0, _UNTIL)),
        *(say("profiles.steps", task=name) for name in costs),
    ]
    lines = [
        [
            profile.strategy,
            f"{profile.score(_UNTIL):.2f}",
            *(f"{profile.share(tau):.2f}" for tau in (1.0, 2.0, _UNTIL)),
            *(_steps(row.get(profile.strategy, math.nan)) for row in costs.values()),
        ]
        for profile in found
    ]
    parts = [
        f"# {say('profiles')}",
        plain(say("profiles.note")),
        table(heads, lines),
        say("profiles.targets"),
    ]
    return "\n\n".join([*parts, "\n".join(targets)]) + "\n"


def _steps(cost: float) -> str:
    return "∞" if math.isinf(cost) else (numbers.NONE if math.isnan(cost) else f"{cost:g}")


def _png(found: list[Profile]) -> bytes:
    from matplotlib.figure import Figure

    words = Words("en")
    figure: Any = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    taus = [1 + (_UNTIL - 1) * index / 300 for index in range(301)]
    ends = _spread([profile.share(_UNTIL) for profile in found])
    for index, (profile, end) in enumerate(zip(found, ends, strict=True)):
        shares = [profile.share(tau) for tau in taus]
        (line,) = axes.plot(taus, shares, linestyle=_STYLES[index % len(_STYLES)], linewidth=1.8)
        name = profile.strategy.replace("$", r"\$")
        axes.annotate(
            name, (_UNTIL, shares[-1]), (_UNTIL * 1.02, end), color=line.get_color(), fontsize=8, va="center"
        )
    axes.set(xlim=(1, _UNTIL), ylim=(-0.02, 1.04), xlabel="τ", ylabel=words("profiles.y"))
    axes.set_title(words("profiles"), loc="left", fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=FAINT, linewidth=0.5)
    written = BytesIO()
    figure.savefig(written, format="png", dpi=150, metadata={"Software": None})
    return written.getvalue()


def _spread(heights: list[float], apart: float = 0.05) -> list[float]:
    """Label heights near the given ones, none closer than `apart` to the next."""
    placed: dict[int, float] = {}
    last = math.inf
    for index in sorted(range(len(heights)), key=lambda i: (-heights[i], i)):
        last = min(heights[index], last - apart)
        placed[index] = last
    return [placed[index] for index in range(len(heights))]

"""What a comparison writes down: trials, outcomes and the experiment, as frozen values and as JSON.

JSON has no infinities and no NaN, and a diverged run has both, so a number that is not finite is written as
one of ``"inf"``, ``"-inf"`` and ``"nan"`` wherever a number is expected, and read back as a float.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, Self

Phase = Literal["tune", "fresh"]
Status = Literal["done", "diverged", "error", "not run"]

_SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def number(value: float | str) -> float:
    """Read a float as `plain` wrote it: a JSON number, or ``"inf"``, ``"-inf"``, ``"nan"``."""
    return _SPECIAL[value] if isinstance(value, str) else float(value)


def plain(value: Any) -> Any:
    """``value`` in JSON's words: tuples become lists, floats that are not finite become strings."""
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        )
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def canonical(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, shortest floats, no NaN."""
    return written(plain(value))


written = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
"""`canonical` of what is in JSON's words already."""


@dataclass(frozen=True)
class Trial:
    """One training run to be done: everything its result depends on, and nothing else.

    Attributes:
        task: The task's name, ``digits`` or ``train.py:task``.
        task_hash: Fingerprint of the task's source, declared files and data.
        strategy: The strategy in canonical writing.
        rate: What the strategy's rate is set to; None for a strategy whose rate is fixed.
        seed: Of the initial weights and of the batch order.
        phase: ``tune`` chooses the rate, ``fresh`` is what is reported.
        steps: Budget in updates.
        device: ``cpu``, ``cuda``, …: the kind, not the index.
        versions: Package → version of everything that computes: accelerando, torch, the optimizer's package.
        evals: Number of evaluations after the one at step 0, evenly spaced over the budget.
        readings: About how many steps the lens reads evenly over the budget, beside more early ones (`pace`);
            0 for none.
    """

    task: str
    task_hash: str
    strategy: str
    rate: float | None
    seed: int
    phase: Phase
    steps: int
    device: str
    versions: tuple[tuple[str, str], ...]
    evals: int = 20
    readings: int = 40

    @cached_property
    def id(self) -> str:
        """Identity: the first 16 hex digits of the SHA-256 of the canonical JSON of all fields."""
        return hashlib.sha256(canonical(_named(self)).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The fields in JSON's words."""
        words: dict[str, Any] = plain(_named(self))
        return words

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        rate = words["rate"]
        versions = tuple((str(name), str(version)) for name, version in words["versions"])
        return cls(**{**words, "rate": None if rate is None else number(rate), "versions": versions})


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        trial: The trial.
        status: ``done``; ``diverged`` (a loss or held-out loss that is not finite); ``error``; ``not run``.
        final: The last evaluation; empty where there was none.
        evals: (step, held-out metrics), step 0 included.
        losses: (step, training loss), thinned.
        rates: (step, nominal, gain, alignment, effective rate), thinned.
        rise: (step, factor) of the largest rise of the gain that no schedule asked for; None if none.
        seconds: Training time with the clock stopped during evaluation.
        message: Why there is no result, in words.
        place: Where: ``file:line in function``.
        traceback: The whole traceback of an error.
    """

    trial: Trial
    status: Status
    final: dict[str, float] = field(default_factory=dict)
    evals: tuple[tuple[int, dict[str, float]], ...] = ()
    losses: tuple[tuple[int, float], ...] = ()
    rates: tuple[tuple[int, float, float, float, float], ...] = ()
    rise: tuple[int, float] | None = None
    seconds: float = 0.0
    message: str = ""
    place: str = ""
    traceback: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields in JSON's words."""
        words: dict[str, Any] = plain({**_named(self), "trial": self.trial.to_json()})
        return words

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        rise = words["rise"]
        return cls(
            trial=Trial.from_json(words["trial"]),
            status=words["status"],
            final=_metrics(words["final"]),
            evals=tuple((int(step), _metrics(metrics)) for step, metrics in words["evals"]),
            losses=tuple((int(step), number(loss)) for step, loss in words["losses"]),
            rates=tuple(
                (int(step), number(n), number(g), number(a), number(e)) for step, n, g, a, e in words["rates"]
            ),
            rise=None if rise is None else (int(rise[0]), number(rise[1])),
            seconds=number(words["seconds"]),
            message=words["message"],
            place=words["place"],
            traceback=words["traceback"],
        )


@dataclass(frozen=True)
class Experiment:
    """What was asked, and what the tuning seeds chose.

    Attributes:
        task: name, title, description, metric, target, steps, hash, files.
        strategies: Per strategy name, optimizer, schedule, options, rate_name (what the grid sets; "" if
            the rate is fixed), versions, note, and not_run (empty, or why it cannot run here).
        rates: The common log grid, ascending.
        tune_seeds: Seeds that choose the rate.
        fresh_seeds: Seeds that are reported.
        steps: Budget of every trial in updates.
        baseline: The strategy that the others are compared with.
        device: Kind of device.
        versions: Package → version.
        command: What to type to run this again.
        edge_extended: Strategy → rates added because its optimum lay on the grid's edge.
        chosen: Strategy → the rate its tuning seeds chose; None where it has no rate or no trial succeeded.
        at_edge: Strategy → ``low`` or ``high`` where the optimum is still at the edge after every extension.
        evals: Number of evaluations of every fresh trial, after the one at step 0.
    """

    task: dict[str, Any]
    strategies: tuple[dict[str, Any], ...]
    rates: tuple[float, ...]
    tune_seeds: tuple[int, ...]
    fresh_seeds: tuple[int, ...]
    steps: int
    baseline: str
    device: str
    versions: tuple[tuple[str, str], ...]
    command: str
    edge_extended: dict[str, list[float]] = field(default_factory=dict)
    chosen: dict[str, float | None] = field(default_factory=dict)
    at_edge: dict[str, str] = field(default_factory=dict)
    evals: int = 20

    def to_json(self) -> dict[str, Any]:
        """The fields in JSON's words."""
        words: dict[str, Any] = plain(_named(self))
        return words

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        tuples = {name: tuple(words[name]) for name in ("strategies", "rates", "tune_seeds", "fresh_seeds")}
        versions = tuple((str(name), str(version)) for name, version in words["versions"])
        return cls(**{**words, **tuples, "versions": versions})


def not_run(experiment: Experiment) -> Sequence[Outcome]:
    """One outcome with status ``not run`` and its reason for every strategy that cannot run here."""
    return [
        Outcome(
            Trial(
                experiment.task["name"],
                experiment.task["hash"],
                strategy["name"],
                None,
                experiment.fresh_seeds[0],
                "fresh",
                experiment.steps,
                experiment.device,
                experiment.versions,
            ),
            "not run",
            message=strategy["not_run"],
        )
        for strategy in experiment.strategies
        if strategy["not_run"]
    ]


def _named(value: Any) -> dict[str, Any]:
    return {place.name: getattr(value, place.name) for place in fields(value)}


def _metrics(words: Mapping[str, Any]) -> dict[str, float]:
    return {name: number(value) for name, value in words.items()}

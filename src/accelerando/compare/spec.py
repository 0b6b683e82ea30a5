"""What was asked for: a comparison as a person states it, checked, and made into an experiment."""

import math
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerando.compare import assemble
from accelerando.compare.records import Experiment
from accelerando.compare.resolve import Resolved
from accelerando.compare.strategy import DEFAULTS, Strategy, parse
from accelerando.errors import SpecError

FRESH_FROM = 1000
"""The first fresh seed; tuning seeds count from 0 and stay below."""

EXECUTORS = ("local", "ray")
_RANGE = re.compile(r"(?P<low>[^./]+(\.\d[^./]*)?)\.\.(?P<high>[^/]+?)(/(?P<count>\d+))?\Z")
_OWN = ("trial", "assemble", "schedule")
_COMPUTES = ("engine", "optim", "schedules", "lens", *(f"compare/{name}.py" for name in _OWN))


@dataclass(frozen=True)
class Spec:
    """A comparison as it is stated; the keys of an experiment's TOML are these names.

    Attributes:
        task: A bundled task's name or ``FILE.py:FUNCTION``.
        strategies: As text.
        rates: The grid: ascending, above 0.
        tune_seeds: How many seeds choose the rate.
        fresh_seeds: How many seeds are reported.
        steps: Budget in updates; None takes the task's.
        evals: Evaluations over the budget, after the one at step 0.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        baseline: Whom the others are compared with; None takes ``adam``, or the first that runs.
        out: Folder of the records; None names it after the task.
        executor: ``local`` or ``ray``.
        workers: Trials at a time; None takes one a core, or two an accelerator.
    """

    task: str = "digits"
    strategies: tuple[str, ...] = DEFAULTS
    rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    tune_seeds: int = 3
    fresh_seeds: int = 10
    steps: int | None = None
    evals: int = 20
    device: str = "auto"
    baseline: str | None = None
    out: str | None = None
    executor: str = "local"
    workers: int | None = None

    def __post_init__(self) -> None:
        texts = self.strategies
        if (
            not isinstance(texts, (tuple, list))
            or not all(isinstance(text, str) for text in texts)
            or not texts
        ):
            raise SpecError(f"strategies must be a list of at least one text, got {texts!r}")
        names = tuple(parse(text).name for text in texts)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SpecError(f"strategies: {', '.join(twice)} is named twice; name it once")
        object.__setattr__(self, "strategies", names)
        object.__setattr__(self, "rates", _grid(self.rates))
        if self.baseline is not None:
            object.__setattr__(self, "baseline", parse(self.baseline).name)
            if self.baseline not in names:
                raise SpecError(f"baseline {self.baseline!r} is none of the strategies: {', '.join(names)}")
        for name in ("tune_seeds", "fresh_seeds", "steps", "evals", "workers"):
            value = getattr(self, name)
            if value is None and name in ("steps", "workers"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.tune_seeds > FRESH_FROM:
            raise SpecError(f"tune_seeds must be at most {FRESH_FROM}, got {self.tune_seeds}")
        if self.executor not in EXECUTORS:
            raise SpecError(f"executor must be one of {', '.join(EXECUTORS)}, got {self.executor!r}")

    @property
    def folder(self) -> Path:
        """Where the records go: `out`, or ``accelerando-TASK``."""
        word = Path(self.task.rpartition(":")[0] or self.task).stem
        return Path(self.out if self.out is not None else f"accelerando-{word}")


def grid(text: str) -> tuple[float, ...]:
    """Read a grid: ``1e-4,1e-3,1e-2``, ``1e-5..1e-1`` (by decades) or ``1e-4..1e-1/7`` (seven points).

    Raises:
        SpecError: It is none of these.
    """
    whole = _RANGE.match(text.strip())
    try:
        if not whole:
            return _grid(tuple(float(piece) for piece in text.split(",")))
        low, high = float(whole["low"]), float(whole["high"])
        if not 0 < low < high < math.inf:
            raise SpecError(f"rates {text!r}: the range must rise from above 0")
        count = int(whole["count"]) if whole["count"] else round(math.log10(high / low)) + 1
    except ValueError as error:
        raise SpecError(f"rates {text!r}: write 1e-4,1e-3 or 1e-5..1e-1 or 1e-4..1e-1/7") from error
    if count < 2:
        raise SpecError(f"rates {text!r}: a range has at least 2 points; write more after the /")
    ratio = (high / low) ** (1 / (count - 1))
    return _grid(tuple(float(f"{low * ratio**k:.9g}") for k in range(count)))


def from_toml(path: Path) -> dict[str, Any]:
    """The settings in an experiment's TOML, by the names of `Spec`; a task's path is taken from its folder.

    Raises:
        SpecError: The file cannot be read, or has a key that is no setting.
    """
    try:
        words = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); give a TOML file") from error
    except ValueError as error:
        raise SpecError(f"{path}: {error}; write TOML") from error
    names = [field.name for field in fields(Spec)]
    for key in words:
        if key not in names:
            raise SpecError(f"{path}: unknown key {key!r}; there are {', '.join(names)}")
    if isinstance(words.get("rates"), str):
        words["rates"] = grid(words["rates"])
    task = words.get("task")
    if isinstance(task, str) and ".py" in task and not Path(task).is_absolute():
        words["task"] = str(path.parent / task)
    return words


def made(words: Mapping[str, Any]) -> Spec:
    """A spec from settings by name."""
    tuples = {key: tuple(words[key]) for key in ("strategies", "rates") if isinstance(words.get(key), list)}
    return Spec(**{**words, **tuples})


def experiment(spec: Spec, resolved: Resolved) -> Experiment:
    """Everything settled: the device, the budget, and for every strategy what runs or why it cannot.

    Raises:
        SpecError: A name that is no optimizer's or schedule's, a missing device, or nothing can run.
    """
    task = resolved.task
    strategies = tuple(_summary(parse(text)) for text in spec.strategies)
    if all(strategy["not_run"] for strategy in strategies):
        reasons = "; ".join(f"{strategy['name']}: {strategy['not_run']}" for strategy in strategies)
        raise SpecError(f"none of the strategies can run here: {reasons}")
    running = [strategy["name"] for strategy in strategies if not strategy["not_run"]]
    return Experiment(
        task={
            "name": task.name,
            "title": task.title,
            "description": task.description,
            "metric": task.metric,
            "target": task.target,
            "steps": task.steps,
            "hash": resolved.hash,
            "files": [Path(name).name for name in task.files],
        },
        strategies=strategies,
        rates=spec.rates,
        tune_seeds=tuple(range(spec.tune_seeds)),
        fresh_seeds=tuple(range(FRESH_FROM, FRESH_FROM + spec.fresh_seeds)),
        steps=spec.steps or task.steps,
        baseline=spec.baseline or ("adam" if "adam" in running else running[0]),
        device=_device(spec.device),
        versions=_versions(),
        command=command(spec),
        evals=spec.evals,
    )


def command(spec: Spec) -> str:
    """What to type to run this again."""
    words = ["accelerando", "compare"]
    default = Spec()
    if spec.task != default.task:
        words.append(spec.task)
    if spec.strategies != default.strategies:
        words += [word for text in spec.strategies for word in ("-s", text)]
    if spec.rates != default.rates:
        words += ["--lrs", ",".join(f"{rate:g}" for rate in spec.rates)]
    flags = {"fresh_seeds": "seeds"}
    for field in fields(Spec):
        value = getattr(spec, field.name)
        skipped = (
            "task",
            "strategies",
            "rates",
            "out",
            "executor",
            "workers",
        )  # none of them changes a result
        if field.name not in skipped and value != field.default:
            words += [f"--{flags.get(field.name, field.name).replace('_', '-')}", str(value)]
    return shlex.join(words)


def _summary(strategy: Strategy) -> dict[str, Any]:
    words: dict[str, Any] = {
        "name": strategy.name,
        "optimizer": strategy.optimizer.name,
        "schedule": "+".join(map(str, strategy.schedules)),
        "options": dict(strategy.optimizer.options),
        "rate_name": "lr",
        "versions": [],
        "note": assemble.notes(strategy),
        "not_run": "",
    }
    try:
        method = assemble.find(strategy)
        words["optimizer"] = method.address
        cyclic = method.rate_name == "lr" and any(part.name == "cyclic" for part in strategy.schedules)
        words["rate_name"] = "max_lr" if cyclic else method.rate_name
        words["note"] = assemble.notes(strategy, method)
        words["versions"] = [list(pair) for pair in assemble.packages(method.address)]
        assemble.probe(strategy, method)
    except assemble.Unavailable as reason:
        words["not_run"] = str(reason)
    return words


def _grid(rates: Any) -> tuple[float, ...]:
    numbers = tuple(sorted(float(rate) for rate in rates))
    if not numbers or not all(0 < rate < math.inf for rate in numbers):
        raise SpecError(f"rates must be at least one number above 0, got {list(rates)}")
    if len(set(numbers)) < len(numbers):
        raise SpecError(f"rates must differ, got {list(numbers)}")
    return numbers


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(asked).type
        torch.empty(1, device=kind)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0]
        raise SpecError(f"device {asked!r} cannot be used here ({first}); take --device cpu") from error
    return kind


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Versions of what computes; a digest of our own computing source too, so that a change of it is seen."""
    import torch

    root = Path(assemble.__file__).parents[1]
    whole = sha256()
    for name in _COMPUTES:
        place = root / name
        for path in sorted(place.rglob("*.py")) or place.parent.glob(place.name):
            whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    ours = f"{version('accelerando')}+{whole.hexdigest()[:8]}"
    return (("accelerando", ours), ("torch", torch.__version__))

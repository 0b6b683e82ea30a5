"""From a strategy's text to a live optimizer with its schedules, whoever wrote the optimizer."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING, Any

from accelerando.compare.schedule import PLATEAU_CHECKS, entry
from accelerando.compare.strategy import Strategy
from accelerando.errors import SpecError

if TYPE_CHECKING:
    import torch

OWN = {
    "accelerando": "Accelerando",
    "adabelief": "AdaBelief",
    "adam": "Adam",
    "adamw": "AdamW",
    "lamb": "LAMB",
    "radam": "RAdam",
}
"""Short names that stand for our own classes, whether this version has them or not."""

RATES = ("d0", "lr")
"""What a constructor may call its rate, in the order in which the grid takes them."""

BUDGET = "total_steps"
"""What a constructor may call the number of updates that it is going to make; a trial gives its own."""


class Unavailable(Exception):
    """This strategy cannot run here; the text is the reason."""


@dataclass(frozen=True)
class Method:
    """An optimizer's class, found, and what the grid sets.

    Attributes:
        cls: Called as ``cls(parameters, **options)``.
        address: ``module:Class``.
        rate_name: The constructor's keyword that takes the grid's rate; empty where the strategy fixes it.
        budgeted: Whether the constructor is told the trial's number of updates, because it asks for
            ``total_steps`` and the strategy does not give it.
    """

    cls: "Callable[..., torch.optim.Optimizer]"
    address: str
    rate_name: str
    budgeted: bool = False


def find(strategy: Strategy) -> Method:
    """Import the optimizer's class and settle what the grid sets.

    A rate written in the strategy is fixed and leaves the grid to the next thing the method calls its rate:
    ``Prodigy(lr=1)`` takes the grid in ``d0``, ``Adam(lr=0.01)`` has no grid.

    Raises:
        SpecError: The name is no optimizer's.
        Unavailable: It is an optimizer's, but not importable here, or not one that a comparison can step.
    """
    for part in strategy.schedules:
        entry(part.name)
    address = _address(strategy.optimizer.name)
    cls = _import(address)
    names = _keywords(cls)
    free = [name for name in RATES if name in names and name not in strategy.optimizer.options]
    if "lr" in strategy.optimizer.options and "d0" not in names:
        free = []
    budgeted = BUDGET in names and BUDGET not in strategy.optimizer.options
    return Method(cls, address, free[0] if free else "", budgeted)


def notes(strategy: Strategy, method: Method | None = None) -> str:
    """What the report says about the budget an optimizer is told and about the schedules; may be empty."""
    told = [f"{BUDGET}: the updates of a trial"] if method is not None and method.budgeted else []
    return "; ".join(told + [f"{part.name}: {entry(part.name).note}" for part in strategy.schedules])


def packages(address: str) -> tuple[tuple[str, str], ...]:
    """The installed distribution that an address comes from, with its version; empty for ours and torch's."""
    top = address.partition(":")[0].partition(".")[0]
    if top in ("accelerando", "torch"):
        return ()
    found = packages_distributions().get(top, [])
    try:
        return tuple((name, version(name)) for name in found[:1])
    except PackageNotFoundError:
        return ()


def probe(strategy: Strategy, method: Method) -> None:
    """Construct the optimizer and its schedules once on a small parameter, and look at its ``step``.

    Raises:
        Unavailable: It cannot be constructed, or wants more of its caller than a gradient.
    """
    import torch

    parameter = torch.nn.Parameter(torch.ones(2, 2))
    try:
        optimizer, _ = build(strategy, method, [parameter], 1e-3 if method.rate_name else None, 100)
    except Exception as error:  # whatever a foreign constructor raises is the reason
        raise Unavailable(
            f"{method.address} cannot be constructed: {type(error).__name__}: {error}"
        ) from error
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise Unavailable(
            f"{method.address} asks for the loss several times per update (step needs a closure); "
            f"equal budgets in updates would not be equal work"
        )


def build(
    strategy: Strategy,
    method: Method,
    parameters: "Iterable[torch.nn.Parameter]",
    rate: float | None,
    steps: int,
) -> "tuple[torch.optim.Optimizer, list[Stepper]]":
    """The optimizer at that rate, and what is to be called with the training loss after every update."""
    options = dict(strategy.optimizer.options)
    if rate is not None:
        options[method.rate_name] = rate
    if method.budgeted:
        options[BUDGET] = steps
    optimizer = method.cls(parameters, **options)
    return optimizer, [_stepper(part, optimizer, steps) for part in strategy.schedules]


Stepper = Callable[["torch.Tensor"], None]


def _stepper(part: Any, optimizer: "torch.optim.Optimizer", steps: int) -> Stepper:
    found = entry(part.name)
    schedule = found.make(optimizer, steps, dict(part.options))
    if not found.watches:
        return lambda loss: schedule.step()
    return _Watch(schedule, max(1, steps // PLATEAU_CHECKS))


class _Watch:
    """Steps a schedule on the mean training loss of every window of updates."""

    def __init__(self, schedule: Any, window: int) -> None:
        self._schedule, self._window = schedule, window
        self._losses: list[torch.Tensor] = []

    def __call__(self, loss: "torch.Tensor") -> None:
        self._losses.append(loss.detach())
        if len(self._losses) == self._window:
            self._schedule.step(sum(map(float, self._losses)) / self._window)
            self._losses.clear()


def _address(name: str) -> str:
    if ":" in name:
        return name
    if name == "sgd":
        return "torch.optim:SGD"
    if name in OWN:
        return f"accelerando:{OWN[name]}"
    own = {public.lower(): public for public in _public()}
    if name.lower() in own:
        return f"accelerando:{own[name.lower()]}"
    known = sorted({*OWN, *own, "sgd"})
    close = get_close_matches(name.lower(), known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    raise SpecError(
        f"no optimizer is called {name!r}; {guess}There are {', '.join(known)}; "
        f"write module:Class for another library's"
    )


def _public() -> list[str]:
    import torch

    import accelerando

    public = {name: getattr(accelerando, name) for name in accelerando.__all__}
    return [
        n for n, cls in public.items() if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)
    ]


def _import(address: str) -> "Callable[..., torch.optim.Optimizer]":
    module_name, _, path = address.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        package = module_name.partition(".")[0]
        missing = error.name or package
        raise Unavailable(f"{missing} is not installed (pip install {missing.partition('.')[0]})") from error
    except Exception as error:  # a package that breaks on import is not this comparison's fault
        raise Unavailable(f"importing {module_name} failed: {type(error).__name__}: {error}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            where = "this version of accelerando" if module_name == "accelerando" else module_name
            raise Unavailable(f"{where} has no {path}")
        found = getattr(found, name)
    if not callable(found):
        raise Unavailable(f"{address} is not a class that can be called")
    make: Callable[..., torch.optim.Optimizer] = found
    return make


def _keywords(cls: Callable[..., Any]) -> set[str]:
    """The keywords a constructor takes; one that takes any keyword takes ``lr``."""
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return {"lr"}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and "lr" not in parameters:
        return {*parameters, "lr"}
    return set(parameters)

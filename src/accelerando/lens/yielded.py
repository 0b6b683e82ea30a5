"""Steps whose sums come out of the optimizer's own pass: nothing is copied, nothing is read twice."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from accelerando.lens.decay import shrinkage
from accelerando.lens.formulas import Moments
from accelerando.lens.snapshot import Call, Held, noting
from accelerando.lens.sums import reduced
from accelerando.lens.taking import AT, COLUMNS, WIDTH, Seen, Taken, seen_in


class Measured(Protocol):
    """What one step of an optimizer will have summed."""

    @property
    def here(self) -> bool:
        """Whether the sums can be had without waiting for a device."""

    def table(self) -> Sequence[tuple[torch.Tensor, Mapping[str, float]]]:
        """Each parameter of the step, in order, with the sums over what this rank holds of it.

        In float64: ``gg``, ``dd``, ``gd``, ``pp`` and ``uu`` of the gradient g as given, the displacement d
        without decay's share, the weights p after the step and the direction u; where there are, also ``mm``
        of the first moment as the step left it, ``pd``, with which the weights before the step are known
        exactly, and ``nonfinite``, how many elements of g are not finite.
        """


class Measuring(Protocol):
    """An optimizer that can yield a step's sums; the lens asks it before each step that it samples."""

    def _measure(self, keep: Sequence[float] | None) -> Measured | None:
        """Let the coming step yield its sums, with what decay leaves of each group's weights.

        Returns:
            None if this step cannot, which is then measured as any other optimizer's.
        """


class Yielded:
    """A sampled step of an optimizer that yields its sums."""

    def __init__(self, optimizer: torch.optim.Optimizer, measured: Measured, keeps: Sequence[float]) -> None:
        self.measured = measured
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self.held = [
            Held(p, index, keep, -1)
            for index, (group, keep) in enumerate(zip(optimizer.param_groups, keeps, strict=True))
            for p in group["params"]
            if p.requires_grad or p.grad is not None
        ]

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note which parameters have a gradient, now or whenever the closure makes them."""
        return noting(self._note, args, kwargs)

    def take(self, optimizer: torch.optim.Optimizer) -> Taken:
        """The sums of the step."""
        seen = seen_in(optimizer, self.groups, self.held, False)
        return Taken(seen, _Told(self.measured, seen, type(optimizer).__name__), [[] for _ in seen])

    def judge(self, seen: Sequence[Seen]) -> None:
        """Nothing is left to hold a fresh gradient against: such steps have no agreement."""

    def altered(self) -> bool:
        """Never: these optimizers read gradients only."""
        return False

    def release(self) -> None:
        """Nothing was taken."""

    def _note(self) -> None:
        for held in self.held:
            held.version = -1 if held.p.grad is None else int(held.p.grad._version)


class _Told:
    """The sums that the optimizer yields, in the lens's columns."""

    def __init__(self, measured: Measured, seen: Sequence[Seen], name: str) -> None:
        self.measured, self.seen, self.name = measured, seen, name

    @property
    def here(self) -> bool:
        return self.measured.here

    def table(self, owners: Sequence[torch.Tensor]) -> list[list[float]]:
        told = {id(p): sums for p, sums in self.measured.table()}
        lines = [_row(one, told[id(one.held.p)], unit_of(one, self.name)) for one in self.seen]
        rows = torch.tensor(lines, dtype=torch.float64)
        whole: list[list[float]] = reduced(rows, owners).tolist()
        return whole


def _row(one: Seen, told: Mapping[str, float], unit: float) -> list[float]:
    row = [0.0] * WIDTH
    for name in ("gg", "gd", "dd", "pp"):
        row[AT[name]] = told[name]
    if "pd" in told:  # ‖p before‖², from p after = keep · p before + d
        row[AT["pp"]] = (told["pp"] - 2 * told["pd"] + told["dd"]) / (one.held.keep or 1.0) ** 2
    row[AT["size"]] = float(one.g.numel())
    row[AT["nonfinite"]] = told.get("nonfinite", 0.0 if math.isfinite(told["gg"]) else math.nan)
    norms = stages_of(one, told, unit)
    row[len(COLUMNS) : len(COLUMNS) + len(norms)] = norms
    row[AT["along"]] = math.sqrt(max(0.0, norms[-1] * told["dd"])) if norms else told["gd"]
    return row


def unit_of(one: Seen, name: str) -> float:
    """What the direction of the optimizer called ``name`` is to be multiplied with, to be its recipe's.

    A recipe leaves the scalars of a method out of its last vector, and some methods keep them inside.
    """
    formula = one.way.formula
    if name in ("Prodigy", "DAdaptAdam") and isinstance(formula, Moments) and formula.second:
        return formula.first / math.sqrt(formula.second)
    return 1 / one.way.scalars.get("rectification", 1.0)


def stages_of(one: Seen, told: Mapping[str, float], unit: float = 1.0) -> list[float]:
    """The squared norm after each cause of its recipe; those that were not told are as the cause before."""
    norms, last = [], told["gg"]
    formula = one.way.formula
    for cause in one.way.causes:
        if cause == "agreement" and isinstance(formula, Moments) and "mm" in told:
            last = formula.first**2 * told["mm"]
        norms.append(last)
    if norms:
        norms[-1] = unit**2 * told["uu"]
    return norms


def begun(optimizer: Any) -> Yielded | None:
    """The coming step, if the optimizer is one that yields its sums, and this step can."""
    ask = getattr(optimizer, "_measure", None)
    if ask is None:
        return None
    keeps = [1 - shrinkage(optimizer, group) for group in optimizer.param_groups]
    measured = ask(keeps)
    return None if measured is None else Yielded(optimizer, measured, keeps)

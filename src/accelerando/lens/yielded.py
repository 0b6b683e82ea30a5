"""Steps whose sums come out of the optimizer's own pass: nothing is copied, nothing is read twice."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from accelerando.engine.telemetry import TOLD
from accelerando.lens.decay import decoupled, shrinkage
from accelerando.lens.formulas import Divided, Formula, Moments
from accelerando.lens.patches import Patches, judged, quantiles_of
from accelerando.lens.recipes import Stepped, Way, way_of
from accelerando.lens.sampled import AT, QUANTILES, STAGES, Array, Tensors
from accelerando.lens.snapshot import Call
from accelerando.lens.sums import reduced

Lots = Sequence[tuple[Sequence[torch.Tensor], Array, bool]]


class Measured(Protocol):
    """What one step of an optimizer will have summed."""

    @property
    def here(self) -> bool:
        """Whether the sums can be had without waiting for a device."""

    def table(self) -> Sequence[tuple[torch.Tensor, Mapping[str, float]]]:
        """Each parameter of the step, in order, with the sums over what this rank holds of it.

        In float64: ``gg``, ``dd``, ``gd``, ``pp`` and ``uu`` of the gradient g as given, the displacement d
        without decay's share, the weights p that the step found and the direction u; where there are, also
        ``mm`` of the first moment as the step left it, and ``nonfinite``, how many elements of g are not finite.
        """


class Measuring(Protocol):
    """An optimizer that can yield a step's sums; the lens asks it before each step that it samples."""

    def _measure(self, keep: Sequence[float] | None) -> Measured | None:
        """Let the coming step yield its sums, with what decay leaves of each group's weights.

        Returns:
            None if this step cannot, which is then measured as any other optimizer's.
        """


class Yielding:
    """What steps of one optimizer that yields its sums have in common, kept from one to the next."""

    def __init__(self) -> None:
        self.layout: _Layout | None = None

    def begun(self, optimizer: Any) -> "Yielded | None":
        """The coming step, if the optimizer is one that yields its sums, and this step can."""
        ask = getattr(optimizer, "_measure", None)
        if ask is None:
            return None
        keeps = [1 - shrinkage(optimizer, group) for group in optimizer.param_groups]
        measured = ask(keeps)
        return None if measured is None else Yielded(optimizer, measured, keeps, self)

    def laid_out(self, optimizer: torch.optim.Optimizer, lots: Lots) -> "_Layout":
        """The layout of the parameters that a step has told of; the last one, if it still holds."""
        if self.layout is None or not self.layout.holds(optimizer, lots):
            self.layout = _Layout(optimizer, lots)
        return self.layout


class _Layout:
    """Parameters that are stepped together, in the order of their groups, and where their numbers are."""

    def __init__(self, optimizer: torch.optim.Optimizer, lots: Lots) -> None:
        self.lists = [params for params, _, _ in lots]
        self.lengths = [len(group["params"]) for group in optimizer.param_groups]
        told = [p for params in self.lists for p in params]
        place = {id(p): k for k, p in enumerate(told)}
        ordered = [(p, k) for k, group in enumerate(optimizer.param_groups) for p in group["params"]]
        here = [(p, k) for p, k in ordered if id(p) in place]
        self.order = np.array([place[id(p)] for p, _ in here], dtype=np.intp)
        self.params, self.groups = [p for p, _ in here], [k for _, k in here]
        self.group = np.array(self.groups, dtype=np.intp)
        self.idle = [(p, k) for p, k in ordered if id(p) not in place and p.requires_grad]
        self.states = [optimizer.state.get(p, {}) for p in self.params]
        self.kinds = [tuple(state) for state in self.states]
        self.sizes = [p.numel() * (2 if p.is_complex() else 1) for p in map(_local, self.params)]
        self.moments = np.repeat([has for _, _, has in lots], [len(ps) for ps in self.lists])[self.order]
        self.sharded = any(hasattr(p, "placements") for p in self.params)
        self.named: list[str] | None = None
        self.patches: dict[tuple[str, ...], Patches | None] = {}

    def holds(self, optimizer: torch.optim.Optimizer, lots: Lots) -> bool:
        """Whether the same parameters were told of, by the same lists, and no state was exchanged."""
        return (
            len(lots) == len(self.lists)
            and all(told[0] is known for told, known in zip(lots, self.lists, strict=True))
            and [len(group["params"]) for group in optimizer.param_groups] == self.lengths
            and all(
                optimizer.state.get(p) is s for p, s in zip(self.params[:1], self.states[:1], strict=True)
            )
        )

    def ages(self) -> list[int]:
        """How many steps each parameter has made, as its state says."""
        found = [state.get("step") for state in self.states]
        if found and all(isinstance(age, torch.Tensor) for age in found):
            return [int(age) for age in torch.stack(found).tolist()]
        return [int(age or 0) for age in found]

    def patches_of(self, reads: tuple[str, ...]) -> "Patches | None":
        """The places at which these buffers are looked at; None where they do not lie alike."""
        if reads not in self.patches:
            self.patches[reads] = Patches.of(self.params, self.states, reads)
        return self.patches[reads]


class Yielded:
    """A sampled step of an optimizer that yields its sums.

    Only the sums, the options and a few numbers of the state are taken while the optimizer waits; what they say is
    worked out when it is asked for.
    """

    here = True

    def __init__(
        self, optimizer: torch.optim.Optimizer, measured: Measured, keeps: Sequence[float], kept: Yielding
    ) -> None:
        self.measured, self.keeps, self._kept = measured, keeps, kept
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self.owners: list[torch.Tensor] = []
        self._patches: Patches | None = None
        self._buffers: list[Array] = []
        self._fresh: Array | None = None

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Nothing is to be noted: gradients are only read."""

    def take(self, optimizer: torch.optim.Optimizer) -> None:
        """The sums of the step, and what its recipes read."""
        lots = _lots(self.measured)
        self.layout = layout = self._kept.laid_out(optimizer, lots)
        self.owners, self.sharded = layout.params, layout.sharded
        if not self.owners:
            return
        self.sums = np.concatenate([sums for _, sums, _ in lots])[layout.order]
        self.ways = self._ways(optimizer, layout)
        formulas = {(type(way.formula), way.reads) for way, _ in self.ways}
        if len(formulas) == 1 and (reads := self.ways[0][0].reads):
            self._patches = layout.patches_of(reads)
        if self._patches is not None:
            self._buffers = self._patches.buffers()

    def _ways(self, optimizer: torch.optim.Optimizer, layout: _Layout) -> list[tuple[Way, list[int]]]:
        """Each recipe, and the rows of those that it fits: one for all of a group that are of an age."""
        rows: dict[tuple[Any, ...], list[int]] = {}
        for row, key in enumerate(zip(layout.groups, layout.ages(), layout.kinds, strict=True)):
            rows.setdefault(key if "trust_ratio" not in key[2] else (*key, row), []).append(row)
        ways, name = [], type(optimizer).__name__
        for key, mine in rows.items():
            index, state = key[0], layout.states[mine[0]]
            group = self.groups[index]
            s = Stepped(
                name,
                group,
                optimizer.param_groups[index],
                state,
                layout.sizes[mine[0]],
                decoupled(optimizer, group),
            )
            ways.append((way_of(s), mine))
        self.kind = name
        return ways

    def pushed(self) -> bool:
        """Whether any gradient was other than zero."""
        return bool(self.sums[:, 0].any())

    def judge(self) -> None:
        """Hold the gradients there are now against the direction of the step."""
        if self._patches is not None:
            self._fresh = self._patches.gradients()

    def altered(self) -> bool:
        """Never: these optimizers read gradients only."""
        return False

    def release(self) -> None:
        """Nothing was taken that others could use."""

    def idle(self) -> list[tuple[torch.Tensor, int]]:
        """The parameters that want a gradient and had none, each with its group."""
        return self.layout.idle

    def names(self, name: Callable[[torch.Tensor, int], str]) -> list[str]:
        """Of the parameters, as ``name`` has it for one of a group."""
        layout = self.layout
        if layout.named is None:
            layout.named = [name(p, k) for p, k in zip(layout.params, layout.groups, strict=True)]
        return layout.named

    def tensors(self, names: Sequence[str]) -> Tensors:
        """What was summed, in the lens's columns."""
        layout, count = self.layout, len(self.owners)
        told = np.column_stack([self.sums, np.array(layout.sizes, dtype=float)])
        if self.sharded:
            told = reduced(torch.from_numpy(told), self.owners).numpy()
        gg, uu, mm, nonfinite, gd, dd, pp, size = told.T
        keep = np.array(self.keeps)[layout.group]
        with np.errstate(all="ignore"):
            stages, last = self._stages(gg, np.where(layout.moments, mm, np.nan), uu)
            along = np.where(np.isnan(last), gd, np.sqrt(np.maximum(0.0, last * dd)))
        sums = np.zeros((count, len(AT)))
        missing = np.where(np.isfinite(gg), 0.0, np.nan)
        columns = {
            "gg": gg, "gd": gd, "dd": dd, "pp": pp, "along": along, "size": size,
            "nonfinite": np.where(np.isnan(nonfinite), missing, nonfinite),
        }  # fmt: skip
        for column, values in columns.items():
            sums[:, AT[column]] = values
        lr = np.array([float(group.get("lr") or 0.0) for group in self.groups])[layout.group]
        quantiles = self._look(sums, lr, np.where(np.isnan(last), gg, last))
        causes: list[tuple[str, ...]] = [()] * count
        scalars: list[Mapping[str, float]] = [{}] * count
        trusts, whole = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        for way, rows in self.ways:
            trusts[rows], whole[rows] = way.trusts, way.whole
            for row in rows:
                causes[row], scalars[row] = way.causes, way.scalars
        return Tensors(
            names, layout.groups, lr, keep, causes, stages, scalars, trusts, whole, sums, quantiles
        )

    def _stages(self, gg: Array, mm: Array, uu: Array) -> tuple[Array, Array]:
        """The squared norm after each cause, and after the last; those that were not told are as the one before."""
        stages, ends = np.full((len(gg), STAGES + 1), np.nan), np.full(len(gg), np.nan)
        for way, rows in self.ways:
            last = gg[rows]
            for k, cause in enumerate(way.causes):
                if cause == "agreement" and isinstance(way.formula, Moments):
                    last = np.where(np.isnan(mm[rows]), last, way.formula.first**2 * mm[rows])
                stages[rows, k] = last
            if way.causes:
                ends[rows] = stages[rows, len(way.causes) - 1] = unit_of(way, self.kind) ** 2 * uu[rows]
        return stages, ends

    def _look(self, sums: Array, lr: Array, last: Array) -> Array:
        """Agreement, from gradient and direction at the places looked at, and the quantiles there."""
        found = np.full((len(lr), len(QUANTILES)), np.nan)
        patches = self._patches
        if patches is None:
            return found
        for way, rows in self.ways:
            buffers = [b[rows] for b in self._buffers]
            x = divisor_of(way.formula, buffers)
            if x is not None and not self.sharded:
                found[rows] = quantiles_of(lr[rows], x, patches.lengths[rows])
            if self._fresh is None or not isinstance(way.formula, Moments):
                continue
            u = buffers[0] * way.formula.first
            u = u if x is None else u / np.maximum(x, 1e-19)  # as our rules divide where nothing came yet
            with np.errstate(
                all="ignore"
            ):  # so that ‖d‖ is what scales one tensor's direction against another's
                scale = np.sqrt(sums[rows, AT["dd"]] / last[rows]) * patches.shares[rows]
            agree, both = judged(self._fresh[rows], u, scale)
            sums[rows, AT["agree"]], sums[rows, AT["judged"]] = agree, both
        return found


def _lots(measured: Measured) -> Lots:
    """What was told, by lists of parameters and `TOLD`; not a number where something was not."""
    own: Lots | None = getattr(measured, "lots", None)
    if own is not None:
        return own
    table = list(measured.table())
    sums = np.array([[told.get(name, np.nan) for name in TOLD] for _, told in table]).reshape(-1, len(TOLD))
    return [([p for p, _ in table], sums, True)]


def _local(p: Any) -> torch.Tensor:
    return p.detach().to_local() if hasattr(p, "to_local") else p  # type: ignore[no-any-return]


def divisor_of(formula: Formula, buffers: Sequence[Array]) -> Array | None:
    """√v̂ + ε at some places; None for a method that does not divide."""
    with np.errstate(all="ignore"):
        if isinstance(formula, Divided):
            return np.sqrt(formula.scale * buffers[0]) + formula.eps
        if not isinstance(formula, Moments) or formula.second is None or len(buffers) < 2:
            return None
        return buffers[1] if formula.infinity else np.sqrt(formula.second * buffers[1]) + formula.eps


def unit_of(way: Way, name: str) -> float:
    """What the direction of the optimizer called ``name`` is to be multiplied with, to be its recipe's.

    A recipe leaves the scalars of a method out of its last vector, and some methods keep them inside.
    """
    formula = way.formula
    if name == "Accelerando" and isinstance(formula, Moments):
        return formula.first
    if name in ("Prodigy", "DAdaptAdam") and isinstance(formula, Moments) and formula.second:
        return formula.first / math.sqrt(formula.second)
    return 1 / way.scalars.get("rectification", 1.0)

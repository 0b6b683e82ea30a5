"""Steps whose sums come out of the optimizer's own pass: nothing is copied, nothing is read twice.

Only sums, options and ages are taken while the optimizer waits; what they say is worked out for many steps at once, in
`accelerando.lens.told`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from accelerando.engine.telemetry import TOLD
from accelerando.lens.decay import ages, decoupled, shrinkage
from accelerando.lens.layout import Layout, Lots
from accelerando.lens.micro import Ended
from accelerando.lens.patches import Patches
from accelerando.lens.recipes import Stepped, way_of
from accelerando.lens.sampled import Array
from accelerando.lens.snapshot import Call
from accelerando.lens.sums import reduced

Options = Mapping[str, Any]


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

    def __init__(
        self, optimizer: torch.optim.Optimizer, index: int, name: Callable[[torch.Tensor, int], str]
    ) -> None:
        self.optimizer, self.index, self.name = optimizer, index, name
        self.layout: Layout | None = None
        self.looks, self.looked = 0, 0
        """How many steps some weights were looked at, and the last of these."""
        self._options: list[Options] = []
        self._keeps: list[float] = []
        self._timed = False

    def begun(self, optimizer: Any) -> "Yielded | None":
        """The coming step, if the optimizer is one that yields its sums, and this step can."""
        ask = getattr(optimizer, "_measure", None)
        if ask is None:
            return None
        before = self._options
        options = self._options = noted(optimizer.param_groups, before)
        if options is not before:
            self._timed = any(map(ages, options))
        if options is not before or self._timed:
            self._keeps = [1 - shrinkage(optimizer, group) for group in optimizer.param_groups]
        measured = ask(self._keeps)
        return None if measured is None else Yielded(self, options, self._keeps, measured)

    def laid_out(self, optimizer: torch.optim.Optimizer, lots: Lots, plan: object) -> Layout:
        """The layout of the parameters that a step has told of; the last one, if it still holds."""
        if self.layout is None or not self.layout.holds(optimizer, lots, plan):
            self.layout = Layout(optimizer, lots, plan)
        return self.layout


class Yielded:
    """A sampled step of an optimizer that yields its sums."""

    here = True

    __slots__ = (
        "after", "ages", "buffers", "fresh", "keeps", "kept", "kind", "layout", "measured", "micro", "options",
        "order", "owners", "patches", "ratios", "step", "sums",
    )  # fmt: skip

    def __init__(
        self, kept: Yielding, options: list[Options], keeps: list[float], measured: Measured
    ) -> None:
        self.kept, self.options, self.keeps, self.measured = kept, options, keeps, measured
        self.patches: Patches | None = None
        self.buffers: Array | None = None
        self.fresh: Array | None = None
        self.micro: Array | None = None
        self.ratios: list[float] | None = None
        self.step, self.order = 0, 0

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Nothing is to be noted: gradients are only read."""

    def take(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """The sums of the step, which is the ``step``-th, and what its recipes read."""
        self.step, self.kind = step, type(optimizer).__name__
        lots, plan = _lots(self.measured), getattr(self.measured, "plan", None)
        self.layout = layout = self.kept.laid_out(optimizer, lots, plan)
        self.owners = layout.params
        if not self.owners:
            return
        sums = lots[0][1] if len(lots) == 1 else np.concatenate([told for _, told, _ in lots])
        self.sums = sums if layout.order is None else sums[layout.order]
        self.after = self.options if layout.has_steps else noted(optimizer.param_groups, self.options)
        found: list[Any] = layout.ages() if plan is None else self.measured.ages  # type: ignore[attr-defined]
        self.ages: float | Sequence[float] = found[0] if found.count(found[0]) == len(found) else found
        if layout.has_ratios:
            self.ratios = [float(state.get("trust_ratio", 0.0)) for state in layout.states]
        kept = self.kept
        if not kept.looks or not 0 < step - kept.looked < layout.rest(kept.looks):
            self._look(optimizer)

    def _look(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy what the recipes read at the places that are looked at, if they all read the same."""
        layout, found = self.layout, set()
        for row in layout.kinds_of_all:
            group = layout.groups[row]
            s = Stepped(
                self.kind,
                self.options[group],
                self.after[group],
                layout.states[row],
                layout.sizes[row],
                decoupled(optimizer, self.options[group]),
            )
            way = way_of(s)
            found.add((type(way.formula), way.reads))
        reads = found.pop()[1] if len(found) == 1 else ()
        if reads and (patches := layout.patches(reads)) is not None:
            self.patches, self.buffers = patches, patches.buffers()
            self.kept.looked, self.kept.looks = self.step, self.kept.looks + 1

    @property
    def index(self) -> int:
        """Whose step it is."""
        return self.kept.index

    @property
    def sharded(self) -> bool:
        """Whether other ranks have a part in it."""
        return self.layout.sharded

    @property
    def cells(self) -> int:
        """How many numbers wait to be looked at."""
        return self.sums.size + (0 if self.buffers is None else 2 * self.buffers.size)

    def rated(self) -> bool:
        """Whether any nominal rate was other than zero."""
        return any(group.get("lr") for group in self.options)

    def pushed(self) -> bool:
        """Whether any gradient was other than zero."""
        return bool(self.sums[:, 0].any())

    def judge(self) -> None:
        """Hold the gradients there are now against the direction of the step."""
        if self.patches is not None:
            self.fresh = self.patches.gradients()

    def altered(self) -> bool:
        """Never: these optimizers read gradients only."""
        return False

    def release(self) -> None:
        """Nothing was taken that others could use."""

    def end(self, order: int, micro: Ended | None) -> None:
        """The step has been judged, and is the ``order``-th of all; other ranks do this at the same time."""
        self.order = order
        if micro is not None:
            small = micro.table()
            pairs = [(*small.get(id(p), (0.0, 0.0)), float(micro.count)) for p in self.owners]
            self.micro = np.array(pairs)
        if self.sharded:
            sizes = np.array(self.layout.sizes, dtype=float)
            whole = torch.from_numpy(np.column_stack([self.sums, sizes]))
            self.sums = reduced(whole, self.owners).numpy()


def noted(groups: Sequence[dict[str, Any]], before: list[Options]) -> list[Options]:
    """The options of some groups, with numbers of their own; ``before`` itself where nothing has changed."""
    if len(before) != len(groups):
        return [_copy(group) for group in groups]
    for group, known in zip(groups, before, strict=True):
        if group["params"] is not known["params"] or group != known:
            break
    else:
        return before
    return [_copy(group) for group in groups]


PLAIN = frozenset({float, int, bool, str, tuple, list, type(None)})


def _copy(group: Mapping[str, Any]) -> Options:
    """A group's options, numbers that live in tensors taken out of them."""
    if PLAIN.issuperset(map(type, group.values())):
        return dict(group)
    return {k: float(v) if isinstance(v, torch.Tensor) and v.numel() == 1 else v for k, v in group.items()}


def _lots(measured: Measured) -> Lots:
    """What was told, by lists of parameters and `TOLD`; not a number where something was not."""
    own: Lots | None = getattr(measured, "lots", None)
    if own is not None:
        return own
    table = list(measured.table())
    sums = np.array([[told.get(name, np.nan) for name in TOLD] for _, told in table]).reshape(-1, len(TOLD))
    return [([p for p, _ in table], sums, True)]

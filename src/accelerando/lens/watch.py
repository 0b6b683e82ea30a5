"""One optimizer under the lens: its hooks, and the sums each sampled step leaves behind."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from accelerando.lens.measure import runs_in
from accelerando.lens.recipes import Stepped, Way, way_of
from accelerando.lens.snapshot import Call, Held, Snapshot
from accelerando.lens.sums import inner, local, reduced

STAGES = 4
"""The most stages a recipe has."""

COLUMNS = ("gg", "gd", "dd", "pp", "along", "decay", "nonfinite", "size", "agree", "judged")
"""The sums of a tensor, then those of its stages: all additive over shards, one reduction for a step."""

QUANTILES = (0.05, 0.5, 0.95)
SAMPLE = 4096
"""Quantiles are of at most this many evenly spaced weights."""


@dataclass(frozen=True)
class Tensor:
    """What was summed over one parameter.

    Attributes:
        name: readable.
        group: its group's index.
        shape: of the whole parameter.
        lr: the nominal rate its step found.
        keep: what decoupled decay left of its weights.
        causes: of its stages, in order.
        stages: their squared norms.
        scalars: cause → factor.
        trusts: whether what is left is a trust ratio.
        whole: whether the recipe is all there is to the method.
        sums: by `COLUMNS`.
        quantiles: of lr/(√v̂ + ε), None where there is none.
    """

    name: str
    group: int
    shape: tuple[int, ...]
    lr: float
    keep: float
    causes: tuple[str, ...]
    stages: tuple[float, ...]
    scalars: Mapping[str, float]
    trusts: bool
    whole: bool
    sums: Mapping[str, float]
    quantiles: tuple[float, ...] | None


@dataclass(frozen=True)
class Step:
    """One sampled step of one optimizer.

    Attributes:
        optimizer: its index under the lens.
        step: how many steps it has made, this one included.
        kind: its class.
        groups: the options of its groups as the step found them, numbers and pairs of numbers only.
        tensors: those that had a gradient.
        idle: the names of those that want one and had none.
        precision: the lowest-precision dtype among them.
    """

    optimizer: int
    step: int
    kind: str
    groups: tuple[Mapping[str, Any], ...]
    tensors: tuple[Tensor, ...]
    idle: tuple[str, ...]
    precision: str


@dataclass
class _Pending:
    """A sampled step whose sums are still on their way."""

    step: int
    snapshot: Snapshot
    held: list[Held]
    moved: list[torch.Tensor]
    ways: list[Way]
    rows: list[torch.Tensor]
    judged: bool = False


class Watch:
    """Step hooks on one optimizer; hands each sampled `Step` to ``deliver``, one step late.

    The next step's gradient judges the direction of the sampled one (agreement). On a GPU a step is handed
    over when the next is sampled, so that nothing waits for the device.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        index: int,
        every: int,
        name: Callable[[torch.Tensor, int], str],
        deliver: Callable[[Step], None],
        start: int = 0,
    ) -> None:
        self.optimizer, self.index, self.every = optimizer, index, every
        self.calls = start
        self._name, self._deliver = name, deliver
        self._before: Snapshot | None = None
        self._pending: _Pending | None = None
        self._open: FrameType | None = None
        self._keep_gradients = True  # until a step shows that it leaves them alone
        self._hooks = [
            optimizer.register_step_pre_hook(self._pre),
            optimizer.register_step_post_hook(self._post),
        ]

    def close(self) -> None:
        """Take the hooks off and hand over what is pending."""
        for hook in self._hooks:
            hook.remove()
        self._before = self._open = None
        self.flush()

    def flush(self) -> None:
        """Hand over the pending step as it is."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._deliver(self._step_of(pending))

    def _pre(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Call | None:
        caller = sys._getframe(1)
        if self._open is not None and runs_in(caller, self._open):
            return None  # a subclass that calls its parent's step: one step, though the hooks run twice
        self._open = caller
        self._before = None
        self.calls += 1
        with torch.no_grad():
            if len(args) < 2 and kwargs.get("closure") is None:
                self._judge()
            if (self.calls - 1) % self.every:
                return None
            self._before = Snapshot(optimizer, self._keep_gradients)
            return self._before.watch(args, kwargs)

    def _post(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if sys._getframe(1) is not self._open:
            return
        self._open = None
        before, self._before = self._before, None
        with torch.no_grad():
            self._judge()
            if before is None:
                return
            self.flush()
            self._take(before)

    def _judge(self) -> None:
        """Hold the fresh gradient against the sampled step's direction, once."""
        pending = self._pending
        if pending is None or pending.judged:
            return
        pending.judged = True
        for held, d, row in zip(pending.held, pending.moved, pending.rows, strict=True):
            if held.p.grad is not None and not held.p.grad.is_sparse and local(held.p.grad).shape == d.shape:
                product = d.neg_().mul_(local(held.p.grad))
                row[8:10] = torch.stack([product.sum(), product.abs_().sum()])
        pending.moved = []
        if all(row.device.type == "cpu" for row in pending.rows):
            self.flush()

    def _take(self, before: Snapshot) -> None:
        altered = before.altered()
        self._keep_gradients = altered
        held, moved, ways, rows = [], [], [], []
        name = type(self.optimizer).__name__
        for one, g, d in before.stepped():
            way, row = _summed(self.optimizer, name, before, one, g, d, altered)
            held.append(one)
            moved.append(d)
            ways.append(way)
            rows.append(row)
        if not rows:
            return
        if not any(float(group.get("lr") or 0.0) for group in before.groups) and not bool(
            sum(row[0].cpu() for row in rows)
        ):
            self.calls -= 1  # checkpointing code making the optimizer create its state, not a step
            return
        self._pending = _Pending(self.calls, before, held, moved, ways, rows)

    def _step_of(self, pending: _Pending) -> Step:
        table = reduced(pending.rows, [h.p for h in pending.held]).tolist()
        groups = pending.snapshot.groups
        tensors = tuple(
            _tensor(self._name(h.p, h.group), h, way, row, groups[h.group], pending.judged)
            for h, way, row in zip(pending.held, pending.ways, table, strict=True)
        )
        precision = min((h.p.dtype for h in pending.held), key=lambda d: torch.finfo(d).bits)
        return Step(
            self.index,
            pending.step,
            type(self.optimizer).__name__,
            tuple(_plain(group) for group in groups),
            tensors,
            tuple(self._name(h.p, h.group) for h in pending.snapshot.held if h.version < 0),
            str(precision).removeprefix("torch."),
        )


def _summed(
    optimizer: torch.optim.Optimizer,
    name: str,
    before: Snapshot,
    held: Held,
    g: torch.Tensor,
    d: torch.Tensor,
    altered: bool,
) -> tuple[Way, torch.Tensor]:
    """A parameter's recipe and its row of sums."""
    state = optimizer.state.get(held.p, {})
    now = local(held.p.detach())
    old: list[torch.Tensor] = []

    def p() -> torch.Tensor:
        if not old:
            old.append((now - d).div_(held.keep or 1.0))
        return old[0]

    used = _used(held, g) if altered else g
    group, after = before.groups[held.group], optimizer.param_groups[held.group]
    way = way_of(Stepped(name, group | {"decoupled": held.keep != 1}, after, state, used, p))
    stages = [vector for _, vector in way.stages]
    if used is not g:
        way = Way((("clipping", used), *way.stages), way.scalars, way.trusts, way.whole, way.rates)
        stages.insert(0, used)
    decay = float(group.get("weight_decay") or 0.0) if held.keep == 1 else 0.0
    pulled = decay * p() if decay else None
    if pulled is not None and way.rates is not None and not way.trusts:
        pulled = pulled * way.rates
    gg, zero = inner(g, g), g.new_zeros(())
    row = [
        gg,
        inner(g, d),
        inner(d, d),
        inner(p(), p()),
        inner(stages[-1] if stages else g, d),
        inner(pulled, pulled) if pulled is not None else zero,
        _nonfinite(g, gg),
        g.new_tensor(float(g.numel())),
        zero,
        zero,
        *(inner(stage, stage) for stage in stages),
        *([zero] * (STAGES - len(stages))),
    ]
    kept = Way(
        tuple((c, zero) for c, _ in way.stages), way.scalars, way.trusts, way.whole, _thin(held.p, way)
    )
    return kept, torch.stack([x.to(torch.float64) for x in row])


def _used(held: Held, g: torch.Tensor) -> torch.Tensor:
    """The gradient the step left behind, where that is the given one made shorter; else the given one."""
    if held.p.grad is None or held.gradient is None or not held.altered():
        return g
    left = local(held.p.grad)
    gg, ll, gl = (float(inner(a, b)) for a, b in ((g, g), (left, left), (g, left)))
    shorter = 0 < ll < gg and gl > 0 and gl * gl >= (1 - 1e-9) * ll * gg
    return left if shorter else g


def _nonfinite(g: torch.Tensor, gg: torch.Tensor) -> torch.Tensor:
    """How many elements are not finite; on a CPU counted only where their sum of squares is not."""
    if g.device.type == "cpu" and bool(gg.isfinite()):
        return g.new_zeros(())
    return (~g.isfinite()).sum()


def _thin(p: torch.Tensor, way: Way) -> torch.Tensor | None:
    """Quantiles of the recipe's rates; None for a sharded parameter, whose shares have no common order."""
    if way.rates is None or hasattr(p, "to_local") or not way.rates.numel():
        return None
    flat = way.rates.reshape(-1)
    some = flat[:: max(1, -(-flat.numel() // SAMPLE))].float()
    return torch.quantile(some, some.new_tensor(QUANTILES))


def _tensor(
    name: str, held: Held, way: Way, row: list[float], group: Mapping[str, Any], judged: bool
) -> Tensor:
    sums = dict(zip(COLUMNS, row, strict=False))
    if not judged:
        sums["agree"] = sums["judged"] = 0.0
    lr = float(group.get("lr") or 0.0)
    quantiles = None if way.rates is None else tuple(lr * q for q in way.rates.tolist())
    causes = tuple(cause for cause, _ in way.stages)
    stages = tuple(row[len(COLUMNS) :][: len(causes)])
    shape = tuple(held.p.shape)
    return Tensor(
        name, held.group, shape, lr, held.keep, causes, stages, way.scalars, way.trusts, way.whole, sums,
        quantiles,
    )  # fmt: skip


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a group."""
    plain: dict[str, Any] = {}
    for key, value in group.items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            plain[key] = float(value)
        elif isinstance(value, bool | int | float) or (
            isinstance(value, tuple | list) and all(isinstance(x, int | float) for x in value)
        ):
            plain[key] = tuple(value) if isinstance(value, list) else value
    return plain

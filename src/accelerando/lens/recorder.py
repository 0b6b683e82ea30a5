"""The recorder a user meets: `Lens`."""

import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from accelerando.errors import HyperparameterError
from accelerando.lens.batch import Batch
from accelerando.lens.events import Event
from accelerando.lens.micro import noise_scale
from accelerando.lens.movements import Moved, moved_by
from accelerando.lens.names import Names
from accelerando.lens.points import Point, cause_of, point_of
from accelerando.lens.rise import find_rise
from accelerando.lens.rows import Row
from accelerando.lens.sinks import sink_of
from accelerando.lens.store import Recording, Store
from accelerando.lens.unwrap import unwrap_all
from accelerando.lens.watch import Watch


@dataclass(frozen=True)
class Rise:
    """A rise of gain at unchanged gradient scale; see `accelerando.lens.rise_of`.

    Attributes:
        optimizer: index of the optimizer.
        group: index of the group.
        tensor: name of the parameter; None for a whole group.
        step: when gain was half-way up.
        factor: how much it rose, at least.
        nominal: the factor by which the nominal rate rose between the same windows.
        cause: the factor of log(gain) that grew most.
    """

    optimizer: int
    group: int
    tensor: str | None
    step: int
    factor: float
    nominal: float
    cause: str


class Lens:
    """Records what the learning rate of any `torch.optim.Optimizer` really does, tensor by tensor.

    >>> import torch
    >>> model = torch.nn.Linear(4, 1)
    >>> adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    >>> with Lens(adam, model=model) as lens:
    ...     for _ in range(3):
    ...         adam.zero_grad()
    ...         model(torch.ones(2, 4)).sum().backward()
    ...         adam.step()
    >>> [row["tensor"] for row in lens.table() if row["step"] == 1 and row["scope"] == "tensor"]
    ['weight', 'bias']
    >>> lens.rose()
    []

    Nothing is patched: weights are noted before a sampled step and compared after it. Leaving the block, also
    by an exception, takes the hooks off; so does `close`. The recording stays.

    Args:
        optimizer: an optimizer, a wrapper around one (``.optimizer``, ``.optim``, ``._optimizer``), a
            container of some (``.optimizers``), or several of these.
        model: gives the parameters their names; without it, the groups' ``param_names`` or positions do.
        every: sample the first step and each ``every``-th after it, at least 1.
        to: a file to record in. An existing recording is gone on with: from the step that the optimizer's
            state says it has reached, or, if it does not say, from the last one recorded.
        sinks: trackers to log to as well, see `accelerando.lens.sinks.sink_of`.
        limit: how many rows to keep; beyond it, samples are thinned by half. Events are never dropped.
        start: how many steps the optimizers have made, if their state does not say and no file does.

    Raises:
        HyperparameterError: ``every``, ``limit`` or ``start`` is out of range, or a sink has no known method.
        UnsupportedTensorError: there is no `torch.optim.Optimizer` inside.
        RecordingError: the file is no recording, cannot be written, or another lens writes it.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        model: torch.nn.Module | None = None,
        every: int = 10,
        to: str | os.PathLike[str] | None = None,
        sinks: Iterable[Any] = (),
        limit: int = 20_000,
        start: int | None = None,
    ) -> None:
        for name, value, least in (("every", every, 1), ("limit", limit, 1), ("start", start or 0, 0)):
            if value != int(value) or value < least:
                raise HyperparameterError(f"Lens: {name} must be an integer of at least {least}, got {value}")
        inside = unwrap_all(optimizer)
        logs = [sink_of(sink) for sink in ([sinks] if hasattr(sinks, "log") else sinks)]
        names = Names(model)
        self._store = Store(to, limit)
        self._batch = Batch(self._store, len(inside), logs)
        weakref.finalize(self, self._batch.work)  # also where a program ends without closing
        self._watches: list[Watch] = []
        for index, one in enumerate(inside):
            begun = _begun(one, self._store.recording.last(index)) if start is None else start
            self._store.resume(index, begun)
            self._watches.append(Watch(one, index, every, partial(names.of, one), self._batch, begun))

    def __enter__(self) -> "Lens":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Lens":
        return self  # a copied trainer does not record a second time into the same file

    def close(self) -> None:
        """Take the hooks off, record what is pending and close the file. Everything stays readable."""
        try:
            for watch in self._watches:
                watch.close()
            self._batch.work()
        finally:
            self._store.close()

    @property
    def recording(self) -> Recording:
        """Everything recorded so far; on a GPU this waits for the last sampled step."""
        for watch in self._watches:
            watch.flush()
        self._batch.work()
        return self._store.recording

    def table(self, scope: str | None = None) -> list[Row]:
        """One flat row for each step and optimizer, group and tensor: ``pandas.DataFrame(lens.table())``.

        Args:
            scope: only ``"optimizer"``, ``"group"`` or ``"tensor"`` rows.
        """
        return [dict(row) for row in self.recording.rows(scope)]

    def events(self) -> list[Event]:
        """The findings, in the order in which they were made; `accelerando explain CODE` says more."""
        return events_of(self.recording)

    def rose(self, scope: str = "group") -> list[Rise]:
        """The rises of gain at unchanged gradient scale, by group or by ``"tensor"``; empty if none."""
        return rises_of(self.recording, scope)

    def micro(self) -> None:
        """Say that a micro-batch has gone backward, so that the gradient noise scale can be told.

        Call it after each ``backward()`` of gradients that are accumulated, the last one before the step
        included; steps that are not sampled cost nothing.
        """
        for watch in self._watches:
            watch.micro()

    def noise_scale(self, scope: str = "group") -> dict[tuple[int, int | None, str | None], float | None]:
        """(optimizer, group, tensor) → the gradient noise scale tr Σ/‖G‖², in micro-batches.

        Times the examples in a micro-batch, it is the batch size beyond which a larger batch helps less than
        in proportion (McCandlish et al. 2018, arXiv:1812.06162, appendix A.1). It is of all samples with
        `micro`; empty without.

        Args:
            scope: ``"optimizer"``, ``"group"`` or ``"tensor"``.

        Returns:
            None where the samples are too few to tell a gradient from its noise.
        """
        found: dict[tuple[int, int | None, str | None], list[tuple[int, float, float]]] = {}
        for row in self.recording.rows(scope):
            if row["micro_batches"] and row["micro_grad_norm"] is not None:
                one = (row["micro_batches"], row["micro_grad_norm"] ** 2, row["grad_norm"] ** 2)
                found.setdefault((row["optimizer"], row["group"], row["tensor"]), []).append(one)
        return {place: noise_scale(pairs) for place, pairs in found.items()}

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a self-contained HTML page with figures, and return where."""
        from accelerando.lens.report import page

        path = Path(path)
        path.write_text(page([self.recording], [path.stem], self._moved()), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        from accelerando.lens.report import body

        return body(self.recording, self._moved())

    def _moved(self) -> dict[int, list[Moved]]:
        """What those optimizers remember that raise their own rate."""
        return {watch.index: moved_by(watch.optimizer) for watch in self._watches}


def events_of(recording: Recording) -> list[Event]:
    """A recording's events."""
    return [Event(**e) for e in recording.events]


def rises_of(recording: Recording, scope: str = "group") -> list[Rise]:
    """The rises in a recording, by ``"group"`` or ``"tensor"``."""
    series: dict[tuple[int, int, str | None], list[Point]] = {}
    for row in recording.rows(scope):
        point = point_of(row)
        if point is not None:
            series.setdefault((row["optimizer"], row["group"], row["tensor"]), []).append(point)
    rises = []
    for (optimizer, group, tensor), points in series.items():
        found = find_rise(points)
        if found is not None:
            low, high = (_middle([p.nominal for p in window]) for window in (found.early, found.late))
            nominal = high / low if low else float("inf")
            cause = cause_of(found.early, found.late)
            rises.append(Rise(optimizer, group, tensor, found.step, found.factor, nominal, cause))
    return rises


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _begun(optimizer: torch.optim.Optimizer, recorded: int) -> int:
    """How many steps an optimizer has made, as its state says; else what the file says."""
    if not optimizer.state:
        return recorded
    steps = [int(s["step"]) for s in optimizer.state.values() if isinstance(s, Mapping) and "step" in s]
    steps += [int(g["step"]) for g in optimizer.param_groups if isinstance(g.get("step"), int | torch.Tensor)]
    return max(steps, default=recorded)

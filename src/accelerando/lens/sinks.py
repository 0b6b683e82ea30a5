"""Where else the numbers go: any tracker, recognised by its methods, never imported."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accelerando.errors import HyperparameterError
from accelerando.lens.rows import CAUSE_FIELDS, NUMBERS, Row

Log = Callable[[Mapping[str, float], int], object]


def sink_of(tracker: Any) -> Log:
    """How to log numbers at a step to a tracker.

    In this order: ``.add_scalar(tag, value, step)`` (TensorBoard), ``.log_metrics(dict, step=)`` (MLflow,
    Lightning loggers, Comet), ``.log(dict, step=)`` (W&B, trackio, Accelerate, SwanLab), or a callable
    ``(dict, step)``.

    Raises:
        HyperparameterError: it has none of these.
    """
    if hasattr(tracker, "add_scalar"):

        def scalars(numbers: Mapping[str, float], step: int) -> None:
            for tag, value in numbers.items():
                tracker.add_scalar(tag, value, step)

        return scalars
    for method in ("log_metrics", "log"):
        if hasattr(tracker, method):
            log = getattr(tracker, method)
            return lambda numbers, step: log(dict(numbers), step=step)
    if callable(tracker):
        return lambda numbers, step: tracker(dict(numbers), step)
    raise HyperparameterError(
        f"Lens: a sink must have .add_scalar, .log_metrics or .log, or be callable, "
        f"got {type(tracker).__name__}"
    )


def numbers_of(rows: Sequence[Row]) -> dict[str, float]:
    """The optimizer's and its groups' rows as ``lens/<optimizer>/<group>/<number>``; tensors' in short.

    A tensor has ``lens/<optimizer>/<group>/<name>/effective``, ``…/gain`` and ``…/relative_update`` only.
    """
    numbers: dict[str, float] = {}
    for row in rows:
        place = [str(row["optimizer"])]
        if row["group"] is not None:
            place.append(str(row["group"]))
        fields: Sequence[str] = (*NUMBERS, *CAUSE_FIELDS)
        if row["tensor"] is not None:
            place.append(row["tensor"])
            fields = ("effective", "gain", "relative_update")
        for field in fields:
            if row[field] is not None:
                numbers["/".join(("lens", *place, field))] = float(row[field])
    return numbers

"""From a step's sums to the numbers a person reads: one flat row a tensor, a group and the optimizer."""

import math
from collections.abc import Sequence
from typing import Any

from accelerando.lens.causes import Chain, attribute
from accelerando.lens.measure import mean_rate
from accelerando.lens.recipes import CAUSES
from accelerando.lens.watch import Step, Tensor

Row = dict[str, Any]

NUMBERS = (
    "lr", "gain", "alignment", "effective", "relative_update", "update_rms", "trust_ratio", "agreement",
    "decay", "decay_share", "grad_norm", "nonfinite", "rate_q05", "rate_q50", "rate_q95",
)  # fmt: skip
CAUSE_FIELDS = tuple("log_" + cause.replace(" ", "_") for cause in CAUSES)
FIELDS = ("step", "scope", "optimizer", "group", "tensor", "size", *NUMBERS, *CAUSE_FIELDS)
"""The fields of a row, in order."""


def rows_of(step: Step) -> list[Row]:
    """The optimizer's row, its groups' and its tensors'."""
    rows = [_row(step, step.tensors, "optimizer", None, None)]
    rows += [
        _row(step, [t for t in step.tensors if t.group == index], "group", index, None)
        for index in sorted({t.group for t in step.tensors})
    ]
    rows += [_row(step, [t], "tensor", t.group, t.name) for t in step.tensors]
    return rows


def chain_of(t: Tensor) -> Chain:
    """A tensor's chain of norms."""
    return Chain(
        t.sums["gg"],
        t.sums["dd"],
        t.lr,
        tuple(zip(t.causes, t.stages, strict=True)),
        t.scalars,
        t.sums["along"],
        t.trusts,
    )


def _row(step: Step, tensors: Sequence[Tensor], scope: str, group: int | None, name: str | None) -> Row:
    total = {key: sum(t.sums[key] for t in tensors) for key in tensors[0].sums}
    chains = [chain_of(t) for t in tensors]
    size = total["size"]
    row: Row = dict.fromkeys(FIELDS)
    row |= {
        "step": step.step,
        "scope": scope,
        "optimizer": step.optimizer,
        "group": group,
        "tensor": name,
        "size": int(size),
        "lr": mean_rate([(t.lr, int(t.sums["size"])) for t in tensors]),
        "grad_norm": _root(total["gg"]),
        "nonfinite": int(total["nonfinite"]) if math.isfinite(total["nonfinite"]) else None,
        "update_rms": _root(_over(total["dd"], size)),
        "relative_update": _root(_over(total["dd"], total["pp"])),
        "agreement": _over(total["agree"], total["judged"]),
    }
    shares = attribute(chains)
    row |= _gain(total["gg"], total["gd"], total["dd"])
    row |= _decay(tensors, chains, total, 0.0 if shares is None else shares["decay"])
    if shares is not None:
        row |= dict(zip(CAUSE_FIELDS, (shares[cause] for cause in CAUSES), strict=True))
        trusted = any("trust ratio" in chain.factors() for chain in chains)
        row["trust_ratio"] = math.exp(shares["trust ratio"]) if trusted else None
    if len(tensors) == 1 and tensors[0].quantiles is not None:
        row |= dict(zip(("rate_q05", "rate_q50", "rate_q95"), tensors[0].quantiles, strict=True))
    return {key: _clean(value) for key, value in row.items()}


def _gain(gg: float, gd: float, dd: float) -> Row:
    if not (gg > 0 and math.isfinite(gg) and math.isfinite(dd)):
        return {}
    return {
        "gain": math.sqrt(dd / gg),
        "alignment": max(-1.0, min(1.0, -gd / math.sqrt(gg * dd))) if dd > 0 else 0.0,
        "effective": -gd / gg,
    }


def _decay(tensors: Sequence[Tensor], chains: Sequence[Chain], total: dict[str, float], within: float) -> Row:
    """How far decay moved the weights: against their own length, and its share beside the gradient's step.

    Decoupled decay is exact, and is not in the displacement. Decay through the gradient is λp scaled as the
    gradient is in this step, the move it makes once the first moment has seen it for long; the gradient's own
    step is then the displacement without what decay added to its length, e to the ``within``.
    """
    moved = 0.0
    for t, chain in zip(tensors, chains, strict=True):
        scale = math.prod(chain.factors().values())
        moved += (1 - t.keep) ** 2 * t.sums["pp"] + t.sums["decay"] * scale * scale
    norm, step = _root(moved), _root(total["dd"])
    if norm is None or step is None:
        return {}
    step *= math.exp(-within)
    return {"decay": _over(norm, _root(total["pp"]) or 0.0), "decay_share": _over(norm, norm + step)}


def _root(x: float | None) -> float | None:
    return math.sqrt(x) if x is not None and x >= 0 else None


def _over(a: float, b: float) -> float | None:
    return a / b if b > 0 else None


def _clean(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""From a step's sums to the numbers a person reads: one flat row a tensor, a group and the optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from accelerando.lens.causes import Array, Chains, attribute, chains_of
from accelerando.lens.measure import mean_rate
from accelerando.lens.recipes import CAUSES
from accelerando.lens.watch import Step, Tensor

Row = dict[str, Any]

NUMBERS = (
    "lr", "gain", "alignment", "effective", "relative_update", "update_rms", "trust_ratio", "agreement",
    "decay", "decay_share", "grad_norm", "micro_grad_norm", "micro_batches", "nonfinite",
    "rate_q05", "rate_q50", "rate_q95",
)  # fmt: skip
CAUSE_FIELDS = tuple("log_" + cause.replace(" ", "_") for cause in CAUSES)
FIELDS = ("step", "scope", "optimizer", "group", "tensor", "size", *NUMBERS, *CAUSE_FIELDS)
"""The fields of a row, in order."""

ADDED = ("gg", "gd", "dd", "pp", "size", "agree", "judged", "nonfinite", "small", "big")


def rows_of(step: Step, chains: Chains | None = None) -> list[Row]:
    """The optimizer's row, its groups' and its tensors'.

    Args:
        step: a sampled step.
        chains: of its tensors, if they are made already.
    """
    tensors = step.tensors
    starts = [i for i, t in enumerate(tensors) if i == 0 or t.group != tensors[i - 1].group]
    members = [
        list(tensors),
        *(list(tensors[a:b]) for a, b in zip(starts, [*starts[1:], len(tensors)], strict=True)),
    ]
    with np.errstate(all="ignore"):
        columns = _columns(step, chains or chains_of(tensors), _over_scopes(starts), members)
    places: list[tuple[str, int | None, str | None]] = [("optimizer", None, None)]
    places += [("group", tensors[i].group, None) for i in starts]
    places += [("tensor", t.group, t.name) for t in tensors]
    return [
        dict(zip(FIELDS, (step.step, scope, step.optimizer, group, name, int(size), *numbers), strict=True))
        for (scope, group, name), size, numbers in zip(
            places, columns.pop("size"), _lines(columns), strict=True
        )
    ]


def _over_scopes(starts: Sequence[int]) -> Callable[[Array], Array]:
    """Sums a column over all tensors, over each group's and over each one."""

    def scoped(column: Array) -> Array:
        return np.concatenate([[column.sum()], np.add.reduceat(column, starts), column])

    return scoped


def _columns(
    step: Step,
    chains: Chains,
    scoped: Callable[[Array], Array],
    members: Sequence[Sequence[Tensor]],
) -> dict[str, Array]:
    """Every number of every scope; NaN where there is none."""
    tensors = step.tensors
    own = {key: np.array([t.sums[key] for t in tensors]) for key in ADDED}
    total = {key: scoped(column) for key, column in own.items()}
    shares = attribute(chains, scoped)
    gg, gd, dd = total["gg"], total["gd"], total["dd"]
    sound = (gg > 0) & np.isfinite(gg) & np.isfinite(dd)
    gain = np.where(sound, np.sqrt(dd / gg), np.nan)
    rates = [mean_rate([(t.lr, int(t.sums["size"])) for t in scope]) for scope in members]
    trusted = scoped(chains.trusted.astype(float)) > 0
    columns = {
        "size": total["size"],
        "lr": np.array([*rates, *(t.lr for t in tensors)]),
        "gain": gain,
        "alignment": np.where(sound, np.where(dd > 0, np.clip(-gd / np.sqrt(gg * dd), -1, 1), 0.0), np.nan),
        "effective": np.where(sound, -gd / gg, np.nan),
        "relative_update": np.sqrt(_over(dd, total["pp"])),
        "update_rms": np.sqrt(_over(dd, total["size"])),
        "trust_ratio": np.where(trusted, np.exp(shares[:, CAUSES.index("trust ratio")]), np.nan),
        "agreement": _over(total["agree"], total["judged"]),
        "grad_norm": np.sqrt(gg),
        "micro_grad_norm": np.sqrt(gg * _over(total["small"], total["big"])),
        "micro_batches": np.full(len(gg), step.micro or np.nan),
        "nonfinite": total["nonfinite"],
    }
    columns |= _decay(tensors, chains, scoped, total, shares[:, CAUSES.index("decay")])
    columns |= _quantiles(tensors, members)
    return columns | {field: shares[:, i] for i, field in enumerate(CAUSE_FIELDS)}


def _decay(
    tensors: Sequence[Tensor],
    chains: Chains,
    scoped: Callable[[Array], Array],
    total: dict[str, Array],
    within: Array,
) -> dict[str, Array]:
    """How far decay moved the weights: against their own length, and its share beside the gradient's step.

    Decoupled decay is exact, and is not in the displacement. Decay through the gradient is λp scaled as the
    gradient is in this step, the move it makes once the first moment has seen it for long; the gradient's own
    step is then the displacement without what decay added to its length, e to the ``within``.
    """
    kept, weights, pulled = (np.array(x) for x in zip(
        *((t.keep, t.sums["pp"], t.sums["decay"]) for t in tensors), strict=True
    ))  # fmt: skip
    norm = np.sqrt(scoped((1 - kept) ** 2 * weights + pulled * chains.scale**2))
    step = np.sqrt(total["dd"]) * np.exp(-np.nan_to_num(within, nan=0.0))
    return {"decay": _over(norm, np.sqrt(total["pp"])), "decay_share": _over(norm, norm + step)}


def _quantiles(tensors: Sequence[Tensor], members: Sequence[Sequence[Tensor]]) -> dict[str, Array]:
    """Of the rates of each tensor; a scope of several tensors has none."""
    none = (np.nan,) * 3
    alone = [*(scope[0] if len(scope) == 1 else None for scope in members), *tensors]
    table = np.array([none if t is None or t.quantiles is None else t.quantiles for t in alone])
    return {field: table[:, i] for i, field in enumerate(("rate_q05", "rate_q50", "rate_q95"))}


def _lines(columns: dict[str, Array]) -> list[list[Any]]:
    """The numbers row by row, None where there is none."""
    table = np.array([columns[field] for field in (*NUMBERS, *CAUSE_FIELDS)])
    bare = ~np.isfinite(table)
    lines: list[list[Any]] = table.T.tolist()
    for field, row in np.argwhere(bare).tolist():
        lines[row][field] = None
    for at in (NUMBERS.index("nonfinite"), NUMBERS.index("micro_batches")):
        for line in lines:
            line[at] = None if line[at] is None else int(line[at])
    return lines


def _over(a: Array, b: Array) -> Array:
    return np.where(b > 0, a / b, np.nan)

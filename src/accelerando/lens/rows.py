"""From a step's sums to the numbers a person reads: one flat row a tensor, a group and the optimizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np

from accelerando.lens.causes import Chains, attribute, chains_of
from accelerando.lens.recipes import CAUSES
from accelerando.lens.sampled import AT, Array, Frame, Ints, Samples

Row = dict[str, Any]

NUMBERS = (
    "lr", "gain", "alignment", "effective", "relative_update", "update_rms", "trust_ratio", "agreement",
    "decay", "decay_share", "grad_norm", "micro_grad_norm", "micro_batches", "nonfinite",
    "rate_q05", "rate_q50", "rate_q95",
)  # fmt: skip
CAUSE_FIELDS = tuple("log_" + cause.replace(" ", "_") for cause in CAUSES)
VALUES = (*NUMBERS, *CAUSE_FIELDS)
FIELDS = ("step", "scope", "optimizer", "group", "tensor", "size", *VALUES)
"""The fields of a row, in order."""

WHOLE_NUMBERS = (VALUES.index("nonfinite"), VALUES.index("micro_batches"))

Place = tuple[str, int | None, str | None, int]
"""A row's scope, group, tensor and size."""


class Scopes:
    """Sums columns of tensors over what they belong to: the optimizer, each group, and, if asked, each tensor."""

    def __init__(self, frame: Frame, tensors: bool) -> None:
        self._begins, self._tensors = list(frame.begins), tensors

    def _of(self, f: np.ufunc, column: Array) -> Array:
        groups = f.reduceat(column, self._begins, axis=1)
        whole = groups if len(self._begins) == 1 else f.reduceat(column, [0], axis=1)
        return np.concatenate([whole, groups, column] if self._tensors else [whole, groups], axis=1)

    def __call__(self, column: Array) -> Array:
        """The sums, by step and scope."""
        return self._of(np.add, column)

    def alike(self, column: Array) -> tuple[Array, Array]:
        """The least and the most of a column in each scope."""
        return self._of(np.minimum, column), self._of(np.maximum, column)


@dataclass(frozen=True)
class Heads:
    """What the lens looks at while it records: of the optimizer, then of each group, by step.

    Attributes:
        lr, gain, grad_norm, decay_share: as in a row.
        shares: of log(gain), by cause.
        chains: of the tensors.
    """

    lr: Array
    gain: Array
    grad_norm: Array
    decay_share: Array
    shares: Array
    chains: Chains


def heads_of(samples: Samples) -> Heads:
    """The heads of some steps."""
    scoped, chains = Scopes(samples.frame, tensors=False), chains_of(samples)
    with np.errstate(all="ignore"):
        total = {key: scoped(samples.sum(key)) for key in ("gg", "dd", "pp")}
        shares = attribute(chains, scoped)
        decay = _decay(samples, chains, scoped, total, shares)
        gain, _ = _gain(total)
        return Heads(
            _rates(samples, scoped), gain, np.sqrt(total["gg"]), decay["decay_share"], shares, chains
        )


@dataclass
class Block:
    """Samples that are kept, whose numbers are worked out when they are read."""

    samples: Samples
    _known: Array | None = field(default=None, repr=False)

    @property
    def optimizer(self) -> int:
        """Whose steps these are."""
        return self.samples.index

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, which: Ints) -> "Block":
        """Some of them."""
        return Block(self.samples.take(which), None if self._known is None else self._known[which])

    @cached_property
    def places(self) -> list[Place]:
        """Of each of a sample's rows."""
        frame = self.samples.frame
        over = dict.fromkeys(frame.present, 0)
        for g, n in zip(frame.groups, frame.sizes, strict=True):
            over[g] += n
        found: list[Place] = [("optimizer", None, None, sum(frame.sizes))]
        found += [("group", g, None, n) for g, n in over.items()]
        tensors = zip(frame.groups, frame.names, frame.sizes, strict=True)
        return found + [("tensor", g, name, n) for g, name, n in tensors]

    @property
    def numbers(self) -> Array:
        """By sample, row and `VALUES`; not finite where there is none."""
        if self._known is None:
            with np.errstate(all="ignore"):
                columns = _columns(self.samples, chains_of(self.samples), Scopes(self.samples.frame, True))
            self._known = np.stack([columns[name] for name in VALUES], axis=-1)
        return self._known

    def lines(self, index: int) -> "Lines":
        """The rows of one sample."""
        return Lines(self, index)

    def made(self, index: int, which: slice) -> list[Row]:
        """Some rows of one sample."""
        step, numbers = int(self.samples.steps[index]), _nulled(self.numbers[index, which])
        return [
            dict(zip(FIELDS, (step, scope, self.optimizer, group, name, size, *own), strict=True))
            for (scope, group, name, size), own in zip(self.places[which], numbers, strict=True)
        ]


class Lines(Sequence[Row]):
    """The rows of one sample, made when they are read."""

    def __init__(self, block: Block, index: int) -> None:
        self._block, self._index = block, index

    def of(self, scope: str | None) -> list[Row]:
        """The rows of one scope, or all."""
        if scope is None:
            return list(self)
        at = [i for i, place in enumerate(self._block.places) if place[0] == scope]
        return self._block.made(self._index, slice(at[0], at[-1] + 1)) if at else []

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._block.made(self._index, slice(None))[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._block.made(self._index, slice(None)))

    def __len__(self) -> int:
        return len(self._block.places)


def _gain(total: dict[str, Array]) -> tuple[Array, Any]:
    """The gain, and where there is one."""
    gg, dd = total["gg"], total["dd"]
    sound = (gg > 0) & np.isfinite(gg) & np.isfinite(dd)
    return np.where(sound, np.sqrt(dd / gg), np.nan), sound


def _columns(samples: Samples, chains: Chains, scoped: Scopes) -> dict[str, Array]:
    """Every number of every scope; NaN where there is none."""
    total = {key: scoped(samples.sum(key)) for key in AT if key not in ("along", "decay")}
    shares = attribute(chains, scoped)
    gg, gd, dd = total["gg"], total["gd"], total["dd"]
    gain, sound = _gain(total)
    trusted = scoped(chains.trusted.astype(float)) > 0
    columns = {
        "lr": _rates(samples, scoped),
        "gain": gain,
        "alignment": np.where(sound, np.where(dd > 0, np.clip(-gd / np.sqrt(gg * dd), -1, 1), 0.0), np.nan),
        "effective": np.where(sound, -gd / gg, np.nan),
        "relative_update": np.sqrt(_over(dd, total["pp"])),
        "update_rms": np.sqrt(_over(dd, total["size"])),
        "trust_ratio": np.where(trusted, np.exp(shares[..., CAUSES.index("trust ratio")]), np.nan),
        "agreement": _over(total["agree"], total["judged"]),
        "grad_norm": np.sqrt(gg),
        "micro_grad_norm": np.sqrt(gg * _over(total["small"], total["big"])),
        "micro_batches": np.broadcast_to(samples.micro[:, None], gg.shape),
        "nonfinite": total["nonfinite"],
    }
    columns |= _decay(samples, chains, scoped, total, shares)
    columns |= _quantiles(samples, scoped)
    return columns | {field: shares[..., i] for i, field in enumerate(CAUSE_FIELDS)}


def _rates(samples: Samples, scoped: Scopes) -> Array:
    """The mean rate, weighted by how many weights have it; exact where all have the same."""
    size = samples.sum("size")
    low, high = scoped.alike(samples.lr)
    if (low == high).all():
        return low
    return np.where(low == high, low, scoped(samples.lr * size) / scoped(size))


def _decay(
    samples: Samples, chains: Chains, scoped: Scopes, total: dict[str, Array], shares: Array
) -> dict[str, Array]:
    """How far decay moved the weights: against their own length, and its share beside the gradient's step.

    Decoupled decay is exact, and is not in the displacement. Decay through the gradient is λp scaled as the
    gradient is in this step, the move it makes once the first moment has seen it for long; the gradient's own
    step is then the displacement without what decay added to its length.
    """
    kept, weights, pulled = samples.keep, samples.sum("pp"), samples.sum("decay")
    within = np.nan_to_num(shares[..., CAUSES.index("decay")], nan=0.0)
    norm = np.sqrt(scoped((1 - kept) ** 2 * weights + pulled * chains.scale**2))
    step = np.sqrt(total["dd"]) * np.exp(-within)
    return {"decay": _over(norm, np.sqrt(total["pp"])), "decay_share": _over(norm, norm + step)}


def _quantiles(samples: Samples, scoped: Scopes) -> dict[str, Array]:
    """Of the rates of each tensor; a scope of several tensors has none."""
    alone = scoped(np.ones((1, samples.lr.shape[1]))) == 1
    return {
        field: np.where(alone, scoped.alike(samples.quantiles[..., i])[0], np.nan)
        for i, field in enumerate(("rate_q05", "rate_q50", "rate_q95"))
    }


def _nulled(table: Array) -> list[list[Any]]:
    """The numbers row by row, None where there is none."""
    lines: list[list[Any]] = table.tolist()
    for row, at in np.argwhere(~np.isfinite(table)).tolist():
        lines[row][at] = None
    for line in lines:
        for at in WHOLE_NUMBERS:
            line[at] = None if line[at] is None else int(line[at])
    return lines


def _over(a: Array, b: Array) -> Array:
    return np.where(b > 0, a / b, np.nan)

"""log(gain) as a sum of causes, for every step, and every tensor, group and optimizer in it, at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from accelerando.lens.recipes import CAUSES
from accelerando.lens.sampled import Array, Bools, Samples

RIGHT = 0.999
"""How parallel the recipe's direction and the displacement must be for their ratio to be a trust ratio."""


@dataclass(frozen=True)
class Chains:
    """The squared norms along each tensor's steps, from the gradient given to the displacement.

    Attributes:
        given: ‖g‖² of the gradient the optimizer was given, by step and tensor.
        moved: ‖d‖², decay's share taken out.
        stages: squared norms of the vectors on the way, the place last; NaN past a tensor's last.
        causes: of these, by tensor.
        factors: cause → the scalar it multiplied the last vector with; the rate is "schedule".
        trusted: whether a trust ratio is among the factors.
        last: the squared norm of the recipe's direction.
        along: that direction's product with the displacement.
    """

    given: Array
    moved: Array
    stages: Array
    causes: tuple[tuple[str, ...], ...]
    factors: dict[str, Array]
    trusted: Bools
    last: Array
    along: Array

    @cached_property
    def right(self) -> Array:
        """|cos| between the recipe's direction and the displacement; NaN if either is nothing."""
        both = self.last * self.moved
        with np.errstate(all="ignore"):
            return np.where(both > 0, np.abs(self.along) / np.sqrt(both), np.nan)

    @property
    def scale(self) -> Array:
        """All factors together."""
        return math.prod(self.factors.values(), start=np.ones_like(self.given))


def chains_of(samples: Samples) -> Chains:
    """The chains of some steps."""
    frame, stages = samples.frame, samples.stages
    given, moved, along = (samples.sum(name) for name in ("gg", "dd", "along"))
    ends = np.array([len(causes) for causes in frame.causes], dtype=np.intp)
    last = np.where(ends > 0, stages[:, np.arange(len(ends)), np.maximum(ends, 1) - 1], given)
    factors = {"schedule": samples.lr}
    for k, cause in enumerate(frame.factors):
        own = samples.scalars[..., k]
        factors[cause] = factors[cause] * own if cause in factors else own
    told = np.broadcast_to(np.array(frame.told, dtype=bool), given.shape)
    chains = Chains(given, moved, stages, frame.causes, factors, told, last, along)
    if not any(frame.trusts):
        return chains
    with np.errstate(all="ignore"):
        known = math.prod(factors.values(), start=np.ones_like(given))
        found = np.array(frame.trusts) & ~told & (chains.right >= RIGHT) & (known > 0)
        ratio = np.where(found, np.sqrt(moved / last) / known, 1.0)
    factors["trust ratio"] = ratio * factors.get("trust ratio", 1.0)
    return replace(chains, trusted=told | found)


def attribute(chains: Chains, scoped: Callable[[Array], Array]) -> Array:
    """Each cause's share of log(gain), by step, scope and cause; a scope's shares add up to it exactly.

    Each cause turns one vector into the next; its share is the logarithm of the ratio of their norms. Over
    several tensors the norms are those of all of them, each scaled by what applied to it so far.

    Args:
        chains: of the tensors.
        scoped: sums a column over the tensors of each scope.

    Returns:
        NaN for a scope whose log(gain) is not a number: no gradient, or nothing moved.
    """
    given, moved = scoped(chains.given), scoped(chains.moved)
    shares = np.zeros((*given.shape, len(CAUSES)))
    squares, before = chains.given, given
    for k in range(max(map(len, chains.causes), default=0)):
        here = [causes[k] if k < len(causes) else "" for causes in chains.causes]
        for cause in dict.fromkeys(c for c in here if c):
            squares = np.where([c == cause for c in here], chains.stages[..., k], squares)
            after = scoped(squares)
            shares[..., CAUSES.index(cause)] += _step(before, after)
            before = after
    for cause, factor in chains.factors.items():
        squares = squares * factor**2
        after = scoped(squares)
        shares[..., CAUSES.index(cause)] += _step(before, after)
        before = after
    gains = 0.5 * np.log(moved) - 0.5 * np.log(given)
    shares[..., CAUSES.index("method")] += gains - shares.sum(axis=-1)
    shares[~((given > 0) & (moved > 0) & np.isfinite(gains))] = np.nan
    return shares


def _step(before: Array, after: Array) -> Array:
    """Half the logarithm of a ratio of squares; nothing is attributed to a cause that zeroes or blows up."""
    sound = (before > 0) & (after > 0) & np.isfinite(before) & np.isfinite(after)
    return np.where(sound, 0.5 * np.log(np.where(sound, after / before, 1.0)), 0.0)

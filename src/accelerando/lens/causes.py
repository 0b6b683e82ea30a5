"""log(gain) as a sum of causes, for one tensor, a group or a whole optimizer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelerando.lens.recipes import CAUSES

RIGHT = 0.999
"""How parallel the recipe's direction and the displacement must be for their ratio to be a trust ratio."""


@dataclass(frozen=True)
class Chain:
    """The squared norms along one tensor's step, from the gradient given to the displacement.

    Attributes:
        given: ‖g‖² of the gradient the optimizer was given.
        moved: ‖d‖², decay's share taken out.
        rate: the nominal rate.
        stages: (cause, squared norm) after each cause, in order.
        scalars: cause → factor, applied after the stages.
        along: ⟨direction, d⟩, which says whether the recipe's direction is the one taken.
        trusts: whether what is left is a trust ratio.
    """

    given: float
    moved: float
    rate: float
    stages: tuple[tuple[str, float], ...]
    scalars: Mapping[str, float]
    along: float
    trusts: bool = False

    @property
    def right(self) -> float:
        """|cos| between the recipe's direction and the displacement; NaN if either is nothing."""
        last = self.stages[-1][1] if self.stages else self.given
        size = math.sqrt(last * self.moved)
        return abs(self.along) / size if size > 0 else math.nan

    def factors(self) -> dict[str, float]:
        """The scalars that multiply the direction, the rate and a trust ratio among them."""
        factors = dict(self.scalars)
        factors["schedule"] = factors.get("schedule", 1.0) * self.rate
        last = self.stages[-1][1] if self.stages else self.given
        known = math.prod(factors.values())
        if self.trusts and "trust ratio" not in factors and self.right >= RIGHT and known > 0:
            factors["trust ratio"] = math.sqrt(self.moved / last) / known
        return factors


def attribute(chains: Sequence[Chain]) -> dict[str, float] | None:
    """Cause → its share of log(gain) over all these tensors together; the shares add up to it exactly.

    Each cause turns one vector into the next; its share is the logarithm of the ratio of their norms. Over
    several tensors the norms are those of all of them, each scaled by what applied to it so far.

    Returns:
        None where log(gain) is not a number: no gradient, or nothing moved.
    """
    shares = dict.fromkeys(CAUSES, 0.0)
    given, moved = sum(c.given for c in chains), sum(c.moved for c in chains)
    if not (given > 0 and moved > 0 and math.isfinite(given) and math.isfinite(moved)):
        return None
    squares = [c.given for c in chains]
    for k in range(max(len(c.stages) for c in chains)):
        for i, chain in enumerate(chains):
            if k < len(chain.stages):
                before, squares[i] = sum(squares), chain.stages[k][1]
                shares[chain.stages[k][0]] += _step(before, sum(squares))
    scalars = [c.factors() for c in chains]
    for cause in CAUSES:
        before = sum(squares)
        squares = [x * s.get(cause, 1.0) ** 2 for x, s in zip(squares, scalars, strict=True)]
        shares[cause] += _step(before, sum(squares))
    shares["method"] += 0.5 * math.log(moved) - 0.5 * math.log(given) - sum(shares.values())
    return shares


def _step(before: float, after: float) -> float:
    """Half the logarithm of a ratio of squares; nothing is attributed to a cause that zeroes or blows up."""
    if before > 0 and after > 0 and math.isfinite(before) and math.isfinite(after):
        return 0.5 * math.log(after / before)
    return 0.0

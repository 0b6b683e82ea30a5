"""Performance profiles over tasks: how often a strategy is within a factor of the best one.

Dolan and Moré (2002), Mathematical Programming 91, 201-213.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """One strategy's profile ρ(τ): the share of tasks on which its cost is at most τ times the best cost.

    Attributes:
        strategy: its name.
        ratios: its cost over the best cost, per task, sorted; ``inf`` where it missed the target.
    """

    strategy: str
    ratios: tuple[float, ...]

    def share(self, tau: float) -> float:
        """ρ(τ), in [0, 1]."""
        return sum(ratio <= tau for ratio in self.ratios) / len(self.ratios)

    def score(self, until: float = 4.0) -> float:
        """Mean of ρ over τ in [1, until]: 1 is the best on every task, 0 never within `until` of the best."""
        reach = sum(max(0.0, until - ratio) for ratio in self.ratios if math.isfinite(ratio))
        return reach / (until - 1) / len(self.ratios)


def profiles(costs: Mapping[str, Mapping[str, float]]) -> list[Profile]:
    """Profiles of the strategies that were run on every task, best score first.

    Args:
        costs: task → strategy → cost > 0, such as steps to the target; ``inf`` for a miss. Tasks on which
            every strategy missed say nothing about their order and are left out.

    Returns:
        One profile per strategy common to all tasks; empty where no task can be used.
    """
    usable = [row for row in costs.values() if any(math.isfinite(cost) for cost in row.values())]
    if not usable:
        return []
    common = sorted(set.intersection(*(set(row) for row in usable)))
    made = [Profile(name, tuple(sorted(_ratios(name, usable)))) for name in common]
    return sorted(made, key=lambda profile: (-profile.score(), profile.strategy))


def _ratios(name: str, rows: Sequence[Mapping[str, float]]) -> list[float]:
    return [row[name] / min(row.values()) for row in rows]

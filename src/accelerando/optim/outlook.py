"""What a self-raising method's rate will be, once its probe has ended."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Outlook:
    """The rise and what follows it, in units of the group's scale.

    Attributes:
        goal: the rate that the rise ends at.
        crossed: the step at which the probe ended; 0 while it is under way.
        risen: the step at which the rise ends.
        total: the steps of the whole run, or None.
    """

    goal: float
    crossed: float
    risen: float
    total: float | None

    def movement(self, age: float) -> str:
        """The name of what the rate does after ``age`` steps.

        Example:
            >>> Outlook(0.1, crossed=20, risen=45, total=100).movement(50)
            'settle'
        """
        if not self.crossed:
            return "probe"
        return "rise" if age < self.risen else "settle"

    def ended(self, age: float, top: float) -> "Outlook":
        """This outlook, or the one there is if the probe ends after ``age`` steps at ``top``."""
        if self.crossed:
            return self
        length = max(40.0, 2 * age) if self.total is None else 0.25 * self.total
        return replace(self, goal=min(0.3, 2 * top), crossed=age, risen=age + length)

    def share(self, age: float, later: float = 0) -> float:
        """The rate of the step after ``age + later`` steps, as a share of the goal.

        Example:
            >>> Outlook(0.1, crossed=20, risen=45, total=105).share(45, later=30)
            0.5
        """
        now = age + later
        if now < self.risen:
            return (now - self.crossed) / (self.risen - self.crossed)
        if self.total is None:
            return math.sqrt(3 * self.risen / (2 * self.risen + now))
        return max(0.0, self.total - now) / max(self.total - self.risen, 1e-9)

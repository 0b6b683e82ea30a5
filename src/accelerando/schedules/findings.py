"""What a scheduler will do to an optimizer, said before it does it."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["rise", "restart", "end", "momentum", "outside", "frozen", "held", "metric"]


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about a scheduler on this optimizer.

    Attributes:
        kind: ``rise`` and ``restart`` (a jump up); ``end``: the rate no longer changes from ``first`` on;
            ``momentum``: beta1 or momentum is changed too; ``outside``: another hand has changed the rate;
            ``frozen``: the rate is 0 whatever the schedule does; ``held``: step() was called without an
            optimizer step; ``metric``: what a scheduler that listens to a metric has seen.
        message: the finding in words.
        group: the parameter group, None for all.
        first: the step at which it begins.
        last: the step at which it ends.
        factor: rate at the end ÷ rate at the beginning, None where that says nothing.
    """

    kind: Kind
    message: str
    group: int | None = None
    first: int | None = None
    last: int | None = None
    factor: float | None = None


@dataclass(frozen=True)
class Description:
    """The findings about one scheduler, in order; print it to read it."""

    scheduler: str
    findings: tuple[Finding, ...]

    def of(self, kind: Kind) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def __str__(self) -> str:
        lines = [f"  {finding.kind:<8} {finding.message}" for finding in self.findings]
        return "\n".join([self.scheduler, *(lines or ["  nothing that could surprise"])])

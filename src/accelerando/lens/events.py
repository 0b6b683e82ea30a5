"""What a lens finds, and what it looks for it in."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

from accelerando.lens.codes import CODES
from accelerando.lens.rows import Heads
from accelerando.lens.sampled import Samples


@dataclass(frozen=True)
class Event:
    """A finding.

    Attributes:
        code: one of `accelerando.lens.codes.CODES`.
        step: when it was seen.
        optimizer: index of the optimizer.
        group: index of the group; None if it is about all of them.
        tensor: name of the parameter; None if it is about the group.
        factor: how much, where there is a number to it.
        cause: why, as far as it is known.
        advice: one sentence.
    """

    code: str
    step: int
    optimizer: int
    group: int | None
    tensor: str | None
    factor: float | None
    cause: str
    advice: str

    def __str__(self) -> str:
        where = self.tensor or (f"group {self.group}" if self.group is not None else "all groups")
        much = "" if self.factor is None else f" ({self.factor:.3g}×)"
        title = CODES[self.code].title if self.code in CODES else "unknown to this release"
        return f"{self.code} step {self.step}, {where}: {title}{much}; {self.cause}. {self.advice}"

    def as_dict(self) -> dict[str, Any]:
        """As a flat dictionary."""
        return asdict(self)


class Seen(NamedTuple):
    """Some sampled steps of one optimizer with one frame, in order, and what is known of it and its groups."""

    samples: Samples
    heads: Heads


Finding = tuple[int, Event]
"""An event, and the place of its sample among those seen."""


class Check(Protocol):
    """Looks at every sampled step of one optimizer, in order."""

    def see(self, seen: Seen) -> Iterable[Finding]:
        """The findings, in order."""


def finding(
    code: str,
    seen: Seen,
    at: int,
    cause: str,
    group: int | None = None,
    tensor: str | None = None,
    factor: float | None = None,
) -> Finding:
    """A finding at a sampled step, with its code's advice."""
    step, optimizer = int(seen.samples.steps[at]), seen.samples.index
    return at, Event(code, step, optimizer, group, tensor, factor, cause, CODES[code].advice)

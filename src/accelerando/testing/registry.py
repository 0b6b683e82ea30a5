"""The list of checks, filled by the modules that hold them."""

from collections.abc import Callable
from dataclasses import dataclass

from accelerando.testing.report import Outcome
from accelerando.testing.subject import Subject


@dataclass(frozen=True)
class Check:
    """One question asked of an optimizer.

    Attributes:
        code: its name for ever.
        kind: ``contract``, ``invariance`` or ``paper``.
        title: what is asked, in a few words.
        ask: looks at a subject and says what it saw; an exception is a failure.
    """

    code: str
    kind: str
    title: str
    ask: Callable[[Subject], Outcome]


CHECKS: dict[str, Check] = {}
"""Every check, by its code."""

KINDS = {"C": "contract", "I": "invariance", "P": "paper"}


def check(code: str, title: str) -> Callable[[Callable[[Subject], Outcome]], Callable[[Subject], Outcome]]:
    """Enter the decorated function into `CHECKS`; the code's letter is its kind."""

    def enter(ask: Callable[[Subject], Outcome]) -> Callable[[Subject], Outcome]:
        if code in CHECKS:
            raise ValueError(
                f"check {code} is taken by {CHECKS[code].title!r}; give {title!r} a code of its own"
            )
        CHECKS[code] = Check(code, KINDS[code[0]], title, ask)
        return ask

    return enter

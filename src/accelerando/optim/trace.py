"""What a self-raising method did, step by step, in bounded memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload


class Turn(NamedTuple):
    """One step of a run.

    Attributes:
        step: its number, from 1.
        movement: ``"probe"``, ``"rise"`` or ``"settle"``.
        rate: the rate that the first group's weights were moved with, in parameter units per step.
        agreement: how much the step's gradient agreed with the direction before it, in [-1, 1].
    """

    step: int
    movement: str
    rate: float
    agreement: float


class Trace(Sequence[Turn]):
    """The turns of a run; when there are more than ``limit``, every second one is dropped, and so on.

    Example:
        >>> trace = Trace(limit=4)
        >>> for step in range(1, 11):
        ...     trace.add(Turn(step, "probe", 1e-3, 0.5))
        >>> [turn.step for turn in trace]
        [1, 5, 9, 10]
    """

    def __init__(self, limit: int = 4096) -> None:
        self.limit, self.stride = limit, 1
        self._kept: list[Turn] = []
        self._last: Turn | None = None

    def add(self, turn: Turn) -> None:
        """Append the next turn."""
        self._last = turn
        if (turn.step - 1) % self.stride == 0:
            self._kept.append(turn)
            if len(self._kept) >= self.limit:
                self.stride *= 2
                self._kept = [t for t in self._kept if (t.step - 1) % self.stride == 0]

    def _all(self) -> list[Turn]:
        tail = [self._last] if self._last is not None and self._last not in self._kept[-1:] else []
        return [*self._kept, *tail]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Turn]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Turn: ...
    @overload
    def __getitem__(self, index: slice) -> list[Turn]: ...
    def __getitem__(self, index: int | slice) -> Turn | list[Turn]:
        if index == -1 and self._last is not None:
            return self._last
        return self._all()[index]

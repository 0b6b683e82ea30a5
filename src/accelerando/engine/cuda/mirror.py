"""A vector on the device that the host writes: copied over only when it changes, and without waiting."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


def capturing(device: torch.device) -> bool:
    """Whether work on ``device`` is being recorded in a CUDA graph instead of being done."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


@dataclass
class _Slot:
    """Page-locked memory, and the event after the last copy out of it."""

    memory: torch.Tensor
    event: torch.cuda.Event


class Mirror:
    """A vector on ``device`` that holds what the host gave last.

    Copies leave from page-locked slots, taken in turn as the copies out of them end, so the host never waits and never
    writes where a copy may still read.
    """

    def __init__(self, values: Sequence[float], dtype: torch.dtype, device: torch.device) -> None:
        self.values = list(values)
        self.vector = torch.tensor(self.values, dtype=dtype, device=device)
        self._slots: list[_Slot] = []
        self._captured: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(self, values: list[float]) -> bool:
        """Send ``values`` if they are not there; whether they were sent."""
        if values == self.values:
            return False
        fresh = torch.tensor(values, dtype=self.vector.dtype)
        if self.vector.is_cuda:
            self._send(fresh)
        else:
            self.vector.copy_(fresh)
        self.values = values
        return True

    def _send(self, fresh: torch.Tensor) -> None:
        slot = next((s for s in self._slots if s.event.query()), None)  # type: ignore[no-untyped-call]
        if slot is None:
            slot = _Slot(torch.empty_like(fresh, pin_memory=True), torch.cuda.Event())  # type: ignore[no-untyped-call]
            self._slots.append(slot)
        slot.memory.copy_(fresh)
        self.vector.copy_(slot.memory, non_blocking=True)
        slot.event.record()

    def captured(self, values: list[float]) -> torch.Tensor:
        """A vector of ``values`` for the graph under capture alone: each replay writes it anew from its own memory."""
        memory = torch.tensor(values, dtype=self.vector.dtype, pin_memory=True)
        vector = torch.empty_like(self.vector)
        vector.copy_(memory, non_blocking=True)
        self._captured.append((memory, vector))
        return vector

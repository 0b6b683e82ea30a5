"""What a step started from, so that what it did can be read when it is over."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from accelerando.lens.decay import shrinkage
from accelerando.lens.flat import Block, Memory, flat

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Held:
    """One parameter as it was before the step.

    Attributes:
        p: the parameter.
        group: its group's index.
        keep: what decoupled decay leaves of it in this step.
        index: its place in the memory of weights.
        version: of its gradient when that was noted; below zero if it had none.
        gradient: a copy of that gradient, flat, if one was asked for.
    """

    __slots__ = ("gradient", "group", "index", "keep", "p", "version")

    def __init__(self, p: torch.Tensor, group: int, keep: float, index: int) -> None:
        self.p, self.group, self.keep, self.index = p, group, keep, index
        self.version = -1
        self.gradient: torch.Tensor | None = None

    def altered(self) -> bool:
        """Whether the gradient was written to since it was noted."""
        grad = self.p.grad
        return grad is not None and self.version >= 0 and int(grad._version) != self.version

    def given(self) -> torch.Tensor | None:
        """The gradient as given, flat; None if there is none, or a sparse one."""
        grad = self.p.grad
        if grad is None or grad.layout != torch.strided:
            return None
        return flat(grad) if self.gradient is None else self.gradient


class Memories:
    """The memory of weights and gradients that snapshots of one optimizer use, one after another."""

    def __init__(self) -> None:
        self._free: list[Memory] = []
        self.gradients = Memory()

    def take(self) -> Memory:
        """A memory that nothing uses; a second one exists only while a step's direction is yet to be judged."""
        return self._free.pop() if self._free else Memory()

    def give(self, memory: Memory) -> None:
        """Take it back."""
        self._free.append(memory)


class Snapshot:
    """The weights, shrinkage and options before a step; gradients too while the step may overwrite them.

    Args:
        optimizer: about to step.
        memories: to copy into.
        keep_gradients: copy the gradients the step is given. With a closure they exist only once it has
            run, and are taken then.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, memories: Memories, keep_gradients: bool) -> None:
        self.memories = memories
        self.keep_gradients = keep_gradients and getattr(optimizer, "grad_scale", None) is None
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self.held: list[Held] = []
        for index, group in enumerate(optimizer.param_groups):
            keep = 1 - shrinkage(optimizer, group)
            for p in group["params"]:
                if p.requires_grad or p.grad is not None:
                    self.held.append(Held(p, index, keep, len(self.held)))
        self.weights = memories.take()
        self.weights.copy([held.p for held in self.held])

    def release(self) -> None:
        """Give the memory back; what it holds is no longer looked at."""
        weights, self.weights = self.weights, Memory()
        if weights.places:
            self.memories.give(weights)

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note the gradients now or whenever the closure makes them; what the step is to be called with."""
        return noting(self._note, args, kwargs)

    def altered(self) -> bool:
        """Whether the step wrote into the gradients it was given, as some do that clip or decay in place."""
        return any(held.altered() for held in self.held)

    def blocks(self, which: Sequence[tuple[int, Held]]) -> Iterator[Block]:
        """Go through the weights from before of some parameters, each the row that comes with it."""
        return self.weights.blocks([(row, held.index) for row, held in which])

    def _note(self) -> None:
        kept = []
        for held in self.held:
            grad = held.p.grad
            held.version, held.gradient = (-1 if grad is None else int(grad._version)), None
            if self.keep_gradients and grad is not None and grad.layout == torch.strided:
                kept.append(held)
        if kept:
            memory = self.memories.gradients
            memory.copy([held.p.grad for held in kept])  # type: ignore[misc]
            for i, held in enumerate(kept):
                held.gradient = memory.of(i)


def noting(note: Callable[[], None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """Note the gradients of a step: now, or each time that its closure, if there is one, has made them.

    Returns:
        What the step is to be called with instead; None for the same.
    """
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if closure is None:
        note()
        return None

    def watched(*inner: Any, **options: Any) -> Any:
        loss = closure(*inner, **options)
        with torch.no_grad():
            note()
        return loss

    if len(args) > 1:
        return (args[0], watched, *args[2:]), kwargs
    return args, {**kwargs, "closure": watched}


def moved(block: Block, now: torch.Tensor, keep: float) -> torch.Tensor:
    """The displacement without decay's share, in the memory of the weights from before."""
    return torch.sub(now, block.memory, alpha=keep, out=block.memory)

"""What a step started from, so that what it did can be read when it is over."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from accelerando.lens.decay import shrinkage
from accelerando.lens.sums import local

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Held:
    """One parameter as it was before the step."""

    __slots__ = ("before", "gradient", "group", "keep", "p", "version")

    def __init__(self, p: torch.Tensor, group: int, keep: float) -> None:
        self.p = p
        self.group = group
        self.keep = keep
        share = local(p.detach())
        self.before = share.clone() if share.data_ptr() == local_ptr(p) else share
        if keep != 1:
            self.before.mul_(keep)
        self.gradient: torch.Tensor | None = None
        self.version = -1

    def note_gradient(self, copy: bool) -> None:
        """Remember the gradient as it is now, or only its version."""
        g = self.p.grad
        self.version = -1 if g is None else int(g._version)
        self.gradient = local(g).clone() if copy and g is not None and not g.is_sparse else None

    def altered(self) -> bool:
        """Whether the gradient was written to since it was noted."""
        return self.p.grad is not None and self.version >= 0 and int(self.p.grad._version) != self.version


class Snapshot:
    """The weights, shrinkage and options before a step; gradients too while the step may overwrite them.

    Args:
        optimizer: about to step.
        keep_gradients: copy the gradients the step is given. With a closure they exist only once it has
            run, and are taken then.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, keep_gradients: bool) -> None:
        self.optimizer = optimizer
        self.keep_gradients = keep_gradients and getattr(optimizer, "grad_scale", None) is None
        self.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self.held: list[Held] = []
        for index, group in enumerate(optimizer.param_groups):
            keep = 1 - shrinkage(optimizer, group)
            self.held += [
                Held(p, index, keep) for p in group["params"] if p.requires_grad or p.grad is not None
            ]

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note the gradients now or whenever the closure makes them; what the step is to be called with."""
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._note()
            return None
        watched = self._noting(closure)
        if len(args) > 1:
            return (args[0], watched, *args[2:]), kwargs
        return args, {**kwargs, "closure": watched}

    def altered(self) -> bool:
        """Whether the step wrote into the gradients it was given, as some do that clip or decay in place."""
        return any(held.altered() for held in self.held)

    def stepped(self) -> Iterator[tuple[Held, torch.Tensor, torch.Tensor]]:
        """Each parameter with a gradient: it, the gradient as given, the displacement without decay's share.

        The displacement takes the memory of the weights from before.
        """
        for held in self.held:
            grad = held.p.grad
            if grad is None or grad.is_sparse:
                continue
            g = local(grad) if held.gradient is None else held.gradient
            yield held, g, held.before.neg_().add_(local(held.p.detach()))

    def _note(self) -> None:
        for held in self.held:
            held.note_gradient(self.keep_gradients)

    def _noting(self, closure: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            loss = closure(*args, **kwargs)
            with torch.no_grad():
                self._note()
            return loss

        return watched


def local_ptr(p: torch.Tensor) -> int:
    """Where this rank's share of a parameter lies."""
    share = p.detach()
    return int((share.to_local() if hasattr(share, "to_local") else share).data_ptr())

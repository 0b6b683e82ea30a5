"""Methods that train at one point and are evaluated at another, an average: the switch between the two."""

import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from accelerando.errors import ModeWarning, StateError

KEPT = "in_training"
"""The state's key for the weights of training, while the parameters hold the average."""


class Averaging(torch.optim.Optimizer):
    """Adds `train`, `eval` and `watch` to a method whose state has an average of its weights.

    Written before `Optimizer` among the bases. ``averages`` names the buffer that `eval` puts into the parameters;
    ``train_mode`` in the groups says which of the two they hold, so that a checkpoint knows it too. Groups whose rule
    has no such buffer are as they are in both modes.
    """

    averages: ClassVar[str]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; it is in training."""
        super().add_param_group(param_group)
        self.param_groups[-1].setdefault("train_mode", True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("train_mode", True)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average into the parameters, to evaluate or to ship them; nothing happens if it is there."""
        for state, p in self._swapped(True):
            state[KEPT] = p.detach().clone()
            p.copy_(state[self.averages])

    @torch.no_grad()
    def train(self, mode: bool = True) -> None:
        """Put the weights of training back, to the bit; ``train(False)`` is `eval`."""
        if not mode:
            self.eval()
            return
        for state, p in self._swapped(False):
            if KEPT in state:
                p.copy_(state.pop(KEPT))

    def _swapped(self, now: bool) -> list[tuple[dict[str, Any], torch.Tensor]]:
        """What is stepped in the groups whose mode is ``now``; the mode is then the other one."""
        groups = [g for g in self.param_groups if g["train_mode"] is now and self.averages_in(g)]
        for group in groups:
            group["train_mode"] = not now
        return [(self.state[p], p) for g in groups for p in g["params"] if self.state.get(p)]

    def averages_in(self, group: Mapping[str, Any]) -> bool:
        """Whether an average is kept of a group's weights."""
        return self.averages in self.rule_of(group).buffers  # type: ignore[attr-defined]

    @property
    def in_training(self) -> bool:
        """Whether the parameters hold the weights of training."""
        return False not in [g["train_mode"] for g in self.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Raises:
            StateError: the parameters hold the average, where the gradient is not the one that the method needs.
        """
        if not self.in_training:
            raise StateError(
                f"{type(self).__name__}: step() needs the weights of training, and the parameters hold their average; "
                "call train() before the forward pass"
            )
        return super().step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # as `Optimizer.step`, which does it

    def watch(self, model: torch.nn.Module) -> Any:
        """Warn, once, when ``model`` runs in one mode while the parameters hold the weights of the other.

        Returns:
            A handle whose ``remove()`` ends the watch.
        """
        look = _Look(self)
        look.handle = model.register_forward_pre_hook(look)
        return look.handle


class _Look:
    """The watch on one model; a copied or pickled model is watched no more."""

    def __init__(self, optimizer: Averaging) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.handle: Any = None

    def __call__(self, module: torch.nn.Module, _: Any) -> None:
        optimizer = self.optimizer()
        if optimizer is None or not optimizer.state or module.training == optimizer.in_training:
            return
        if not any(map(optimizer.averages_in, optimizer.param_groups)):
            return
        self.handle.remove()
        ran, call = ("training", "train()") if module.training else ("evaluation", "eval()")
        warnings.warn(
            f"{type(optimizer).__name__}: the model runs in {ran} mode on the weights of the other; call {call} of "
            "the optimizer as well as of the model",
            ModeWarning,
            stacklevel=2,
        )

    def __reduce__(self) -> Any:
        return _nothing, ()


def _nothing() -> Callable[..., None]:
    return _pass


def _pass(*_: Any) -> None:
    return None

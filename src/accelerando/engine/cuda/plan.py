"""The plan of an optimizer whose parameters all lie on one device: everything of a step happens there."""

from collections.abc import Sequence
from operator import is_
from typing import Any

import torch

from accelerando.engine.collecting import RuleOf
from accelerando.engine.lots import Item
from accelerando.engine.tensors import alike


class DevicePlan:
    """As `accelerando.engine.plan.Plan`: it lasts as long as what it was made of.

    Args:
        optimizer: whose step this is.
        rule_of: the rule of a group.
        items: what the step moves, which `choice.why_not_on_device` finds nothing against.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rule_of: RuleOf, items: Sequence[Item]) -> None:
        from accelerando.engine.cuda.step import DeviceStep  # imports triton

        self.optimizer, self.rule_of, self.items = optimizer, rule_of, list(items)
        self.params, self.grads = [i.p for i in items], [i.g for i in items]
        self.driver = DeviceStep(type(optimizer).__name__, self.items)
        self.modes = self._modes()

    def refresh(self) -> bool:
        """Take this step's gradients; False if the plan is out of date."""
        params = [p for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        same = len(params) == len(self.params) and all(map(is_, params, self.params))
        if not same or self._modes() != self.modes:
            return False
        if not all(self.optimizer.state.get(i.p) is i.state for i in self.items):
            return False
        self.grads = [p.grad for p in self.params if p.grad is not None]
        return all(map(alike, self.params, self.grads)) and self.driver.fits(self.grads)

    def run(self) -> None:
        """Make the step; a gradient scaler's two numbers are honoured where it has left them."""
        found, scale = (getattr(self.optimizer, name, None) for name in ("found_inf", "grad_scale"))
        self.driver.run(self.grads, found, scale)

    def _modes(self) -> list[tuple[Any, ...]]:
        return [
            (id(g), self.rule_of(g), g["backend"], g["store"], g["store_seed"], g["state_dtype"])
            for g in self.optimizer.param_groups
        ]

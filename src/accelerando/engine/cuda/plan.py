"""The plan of an optimizer whose parameters all lie on one device: everything of a step happens there."""

from collections.abc import Sequence
from typing import Any

import torch

from accelerando.engine.collecting import RuleOf, collect
from accelerando.engine.lots import Item


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
        self.driver = DeviceStep(type(optimizer).__name__, self.items)
        self.modes = self._modes()

    def refresh(self) -> bool:
        """Take this step's gradients; False if the plan is out of date."""
        if self._modes() != self.modes:
            return False
        self.items = collect(self.optimizer, self.rule_of)
        return self.driver.fits(self.items)

    def run(self) -> None:
        """Make the step; a gradient scaler's two numbers are honoured where it has left them."""
        found, scale = (getattr(self.optimizer, name, None) for name in ("found_inf", "grad_scale"))
        self.driver.run([i.g for i in self.items], found, scale)

    def _modes(self) -> list[tuple[Any, ...]]:
        return [(id(g), g["backend"], g["store"], g["state_dtype"]) for g in self.optimizer.param_groups]

"""The launch before the step, where gradients are clipped or guarded."""

from collections.abc import Sequence
from typing import Any

import torch

from accelerando.engine.cuda.family import Deal, Family, Numbers
from accelerando.engine.cuda.layout import Scheme
from accelerando.engine.cuda.survey import survey
from accelerando.engine.lots import Item


class Look:
    """The survey of the gradients that ask for it: those of groups that clip, and of groups that guard.

    Args:
        items: every item of the step.
        deal: the geometry for a rule and a scheme.
    """

    def __init__(self, items: Sequence[Item], deal: Deal) -> None:
        groups = {id(i.group): _seen(i.group) for i in items}
        asked = [i for i in items if any(groups[id(i.group)][n] for n in ("clips", "guards"))]
        own = [Item(groups[id(i.group)], survey(), i.p, i.g, i.state, i.index, i.place) for i in asked]
        schemes = [Scheme(torch.float64, i.g.dtype, ()) for i in own]  # sums of squares overflow in float32
        count = len({id(i.group) for i in own})
        self.control = torch.zeros(2 * count, dtype=torch.float64, device=own[0].p.device)
        self.family = Family(survey(), own, schemes, deal, self.control)
        self.numbers = Numbers(self.family)
        self.numbers.update()
        self.calm = torch.zeros_like(self.control)

    def run(self, gradients: torch.Tensor) -> torch.Tensor:
        """Look at the gradients; the control of the steps that follow: their norm, how many numbers are not finite."""
        self.family.launch(False, gradients, self.numbers.vector, self.calm)
        return self.control


def _seen(group: dict[str, Any]) -> dict[str, Any]:
    guards = group["on_nonfinite"] != "propagate"
    clips = group["max_grad_norm"] is not None
    return {"maximize": False, "max_grad_norm": None, "clips": clips, "guards": guards}

"""Decoupled weight decay: the share of a step that is the weights shrinking, whatever the gradient says."""

from collections.abc import Mapping
from typing import Any

import torch

from accelerando.engine.optimizer import Optimizer
from accelerando.lens.recipes import own_rate

FLAGS = ("decoupled_weight_decay", "weight_decouple", "decouple", "decoupled_decay", "decoupled")
"""Keys by which torch, pytorch_optimizer, prodigyopt, dadaptation and timm say that decay is decoupled."""

ALWAYS = frozenset({"AdamW", "AdamWLegacy", "NAdamW", "Lion", "Adan", "AdaBeliefW"})
"""Classes that decay the weights directly and say so only by their name."""


def decoupled(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> bool:
    """Whether this group's ``weight_decay`` acts on the weights and not through the gradient.

    A rule of ours says so by taking ``shrink`` where it applies the step.
    """
    for flag in FLAGS:
        value = group.get(flag, getattr(optimizer, flag, None))
        if value is not None:
            return bool(value)
    if isinstance(optimizer, Optimizer):
        return "shrink" in type(optimizer).rule_of(group).apply.arguments
    return type(optimizer).__name__ in ALWAYS


def shrinkage(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    """The c for which this step takes c·p from the weights: lr·λ, times d where distance is adapted; ρ·λ for ours.

    Zero where decay acts through the gradient: there it is not a separate share of the displacement.
    Read before the step, because the methods that adapt d decay with the d they began the step with.
    """
    decay = float(group.get("weight_decay") or 0.0)
    if not decay:
        return 0.0
    if type(optimizer).__name__ == "Accelerando":
        return float(decay * own_rate(group, _made(optimizer, group) + 1) / float(group["scale"]))
    if not decoupled(optimizer, group):
        return 0.0
    if group.get("fixed_decay"):
        return decay
    rate = float(group.get("lr") or 0.0) * float(group.get("d", 1.0))
    return decay * rate * _correction(optimizer, group)


def ages(group: Mapping[str, Any]) -> bool:
    """Whether the same options shrink the weights more or less as steps go by."""
    return "rate" in group or bool(group.get("use_bias_correction"))


def _correction(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    """The bias correction in the rate of the methods that adapt d, for a group's oldest parameter; else 1."""
    if not group.get("use_bias_correction"):
        return 1.0
    made = _made(optimizer, group)
    beta1, beta2 = group["betas"]
    return float((1 - beta2 ** (made + 1)) ** 0.5 / (1 - beta1 ** (made + 1)))


def _made(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    """How many steps a group's oldest parameter has made."""
    if isinstance(optimizer, Optimizer) and (age := optimizer._age()) is not None:
        return age
    states = [optimizer.state[p] for p in group["params"] if p in optimizer.state]
    return float(group.get("k", max((float(s["step"]) for s in states if "step" in s), default=0.0)))

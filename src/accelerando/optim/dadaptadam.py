"""DAdaptAdam: Adam that estimates its own rate from how its gradients agree."""

from typing import Annotated, ClassVar

from accelerando.rule import (
    Betas,
    Interval,
    NonNegative,
    Optimizer,
    Positive,
    abs,
    maximum,
    minimum,
    sqrt,
    where,
)

SUMS = ("num", "den", "rates", "active")


class DAdaptAdam(Optimizer):
    r"""Adam whose rate is a lower bound on the distance to the solution, made from how gradients agree.

    Source: Defazio and Mishchenko (2023), arXiv:2301.07733, Adam with D-Adaptation; bias correction,
    ``growth_rate`` and decoupled decay as the authors' package (version 3) describes them. Deviations: none.

    Update: with :math:`λ = γd`, :math:`r ← \sqrt{β_2}\, r + (1-\sqrt{β_2})λ⟨g, s/(\sqrt v + ε)⟩`,
    :math:`m ← β_1 m + (1-β_1)λg`, :math:`v ← β_2 v + (1-β_2)g^2`,
    :math:`s ← \sqrt{β_2}\, s + (1-\sqrt{β_2})λg`, :math:`x ← x - m/(\sqrt v + ε)`, and then for the next step
    :math:`d ← \max(d, \hat d)`, :math:`\hat d = r/((1-\sqrt{β_2})‖s‖_1)`; sums over all groups.

    Groups may have rates in any ratio, with `Prodigy`'s meaning.

    Args:
        params: tensors, groups, or named tensors.
        lr: γ ≥ 0, a factor of the estimated rate: leave it at 1 and let a schedule multiply it.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε > 0, in gradient units.
        weight_decay: λ ≥ 0, an L2 penalty, or with ``decoupled_weight_decay`` a shrinking by 1 - γdλ a step.
        decoupled_weight_decay: as in AdamW.
        use_bias_correction: multiply γ by :math:`\sqrt{1-β_2^t}/(1-β_1^t)`, t the age of the parameter.
        d0: the first estimate, > 0, in parameter units; an underestimate is right.
        growth_rate: the largest rise of ``d`` in one step, ≥ 1; None for no bound.
        per_group: each group estimates ``d`` by itself. Set it for all groups or for none.

    State: ``step``; ``exp_avg``, ``exp_avg_sq`` and ``s``, shaped as the parameter, zero at first. In the groups: ``d``
    and ``numerator_weighted`` (r). A sum that is not finite leaves them as they are.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter is complex, or it or its gradient sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.full((3,), 10.0))
        >>> optimizer = DAdaptAdam([p])
        >>> for _ in range(100):
        ...     optimizer.zero_grad()
        ...     (p**2).sum().backward()
        ...     optimizer.step()
        >>> optimizer.param_groups[0]["d"] > 1e4 * optimizer.param_groups[0]["d0"]
        True
    """

    lr: NonNegative = 1.0
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled_weight_decay: bool = False
    use_bias_correction: bool = False
    d0: Positive = 1e-6
    growth_rate: Annotated[float | None, Interval(1, float("inf"), "left")] = None
    per_group: bool = False

    buffers: ClassVar = ("exp_avg", "exp_avg_sq", "s")
    sums: ClassVar = dict.fromkeys(SUMS, "all")
    memory: ClassVar = {"d": "d0", "numerator_weighted": 0.0}
    when: ClassVar = "next"
    variants: ClassVar = {"per_group": {"sums": dict.fromkeys(SUMS, "group")}}

    @staticmethod
    def scalars(
        t, lr, beta1, beta2, weight_decay, decoupled_weight_decay, use_bias_correction, d
    ):  # fmt: skip
        keep = sqrt(beta2)
        bias = where(use_bias_correction > 0, sqrt(1 - beta2**t) / (1 - beta1**t), 1)
        dlr = d * lr * bias
        on = where(lr > 0, 1, 0)
        weight = on * d * bias
        share1 = (1 - beta1) * dlr
        share2 = 1 - beta2
        pull = (1 - keep) * dlr
        l2 = weight_decay * (1 - decoupled_weight_decay)
        shrink = dlr * weight_decay * decoupled_weight_decay
        return keep, on, weight, share1, share2, pull, l2, shrink

    @staticmethod
    def direction(
        p, g, exp_avg, exp_avg_sq, s, lr, beta1, beta2, eps, keep, on, weight, share1, share2, pull, l2
    ):  # fmt: skip
        g = g + l2 * p
        num = weight * (g * (s / (sqrt(exp_avg_sq) + eps)))
        exp_avg = beta1 * exp_avg + share1 * g
        exp_avg_sq = beta2 * exp_avg_sq + share2 * (g * g)
        s = keep * s + pull * g
        den = abs(s)
        rates = where(g == g, lr, lr)
        active = where(g == g, on, on)
        u = exp_avg / (sqrt(exp_avg_sq) + eps)
        return u, exp_avg, exp_avg_sq, s, num, den, rates, active

    @staticmethod
    def decide(num, den, rates, active, keep, growth_rate, d, numerator_weighted):
        gamma = where(active > 0, rates / active, 0)
        total = keep * numerator_weighted + (1 - keep) * gamma * num
        d_hat = total / ((1 - keep) * den)
        known = (den > 0) & (d_hat - d_hat == 0)
        d = where(known, maximum(d, minimum(d_hat, d * growth_rate)), d)
        numerator_weighted = where(total - total == 0, total, numerator_weighted)
        return d, numerator_weighted

    @staticmethod
    def apply(p, u, shrink):
        return p - (u + shrink * p)

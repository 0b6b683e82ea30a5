"""Prodigy: Adam that estimates its own rate from how far it has come."""

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


class Prodigy(Optimizer):
    r"""Adam whose rate is an estimate of the distance to the solution, which can only rise.

    Source: Mishchenko and Defazio (2023), arXiv:2306.06101, the Adam version; bias correction, ``safeguard_warmup``,
    ``d_coef``, ``growth_rate`` and decay as the authors' package describes them. Deviations: the way
    :math:`x_0 - x_k` is kept as a sum of steps, in float32 at least, instead of a copy of :math:`x_0`. The two are
    equal, but weights in bfloat16, which a step of size ``d0`` leaves as they are, do not hold the estimate back.

    Update: :math:`m ← β_1 m + (1-β_1)dg`, :math:`v ← β_2 v + (1-β_2)d^2g^2`, :math:`s ← β_3 s + γd^2g`,
    :math:`r ← β_3 r + γd^2 ⟨g, x_0 - x⟩`, :math:`x ← x - γd(m/(\sqrt v + dε) + λx)`, and then for the next step
    :math:`d ← \max(d, \hat d)`, :math:`\hat d = d_{coef}\, r/‖s‖_1`; sums over all groups.

    Groups may have rates in any ratio: a group with ten times the rate moves ten times as far for the same ``d``,
    and the estimate is the one of the same problem with that group's weights in units a tenth as large. γ in ``r`` is
    the mean rate of all elements that have a gradient and a rate above zero.

    Args:
        params: tensors, groups, or named tensors.
        lr: γ ≥ 0, a factor of the estimated rate: leave it at 1 and let a schedule multiply it.
        betas: the decays β₁, β₂ in [0, 1).
        beta3: the decay of r and s in [0, 1), or None for √β₂.
        eps: ε > 0, in gradient units.
        weight_decay: λ ≥ 0, a shrinking by 1 - γdλ a step, or without ``decoupled_weight_decay`` an L2 penalty.
        decoupled_weight_decay: as in AdamW.
        use_bias_correction: multiply γ by :math:`\sqrt{1-β_2^t}/(1-β_1^t)`, t the age of the parameter.
        safeguard_warmup: leave γ out of s, so that a warm-up of ``lr`` does not make ``d`` too large.
        d0: the first estimate, > 0, in parameter units; an underestimate is right.
        d_coef: a factor of the estimate, > 0.
        growth_rate: the largest rise of ``d`` in one step, ≥ 1, from the second rise on; None for no bound.
        per_group: each group estimates ``d`` by itself. Set it for all groups or for none.

    State: ``step``; ``exp_avg``, ``exp_avg_sq``, ``s`` and ``away`` (:math:`x_0 - x`), shaped as the parameter, zero at
    first. In the groups: ``d``, ``d_max`` (the largest :math:`\hat d`) and ``d_numerator`` (r); a sum that is not
    finite leaves them as they are.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter is complex, or it or its gradient sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.full((3,), 10.0))
        >>> optimizer = Prodigy([p])
        >>> for _ in range(100):
        ...     optimizer.zero_grad()
        ...     (p**2).sum().backward()
        ...     optimizer.step()
        >>> optimizer.param_groups[0]["d"] > 1e5 * optimizer.param_groups[0]["d0"]
        True
    """

    lr: NonNegative = 1.0
    betas: Betas = (0.9, 0.999)
    beta3: Annotated[float | None, Interval(0, 1, "left")] = None
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled_weight_decay: bool = True
    use_bias_correction: bool = False
    safeguard_warmup: bool = False
    d0: Positive = 1e-6
    d_coef: Positive = 1.0
    growth_rate: Annotated[float | None, Interval(1, float("inf"), "left")] = None
    per_group: bool = False

    buffers: ClassVar = ("exp_avg", "exp_avg_sq", "s", "away")
    sums: ClassVar = dict.fromkeys(SUMS, "all")
    memory: ClassVar = {"d": "d0", "d_max": "d0", "d_numerator": 0.0}
    when: ClassVar = "next"
    variants: ClassVar = {"per_group": {"sums": dict.fromkeys(SUMS, "group")}}

    @staticmethod
    def scalars(
        t, lr, beta1, beta2, beta3, eps, weight_decay, decoupled_weight_decay, use_bias_correction, safeguard_warmup,
        d, d0,
    ):  # fmt: skip
        keep = where(beta3 < 1, beta3, sqrt(beta2))
        bias = where(use_bias_correction > 0, sqrt(1 - beta2**t) / (1 - beta1**t), 1)
        dlr = d * lr * bias
        share1 = (1 - beta1) * d
        share2 = (1 - beta2) * d * d
        damp = d * eps
        on = where(lr > 0, 1, 0)
        weight = on * (d / d0) * d * bias
        pull = (d / d0) * where(safeguard_warmup > 0, d, dlr)
        worth = where(safeguard_warmup > 0, lr, 1)
        l2 = weight_decay * (1 - decoupled_weight_decay)
        shrink = weight_decay * decoupled_weight_decay
        return keep, dlr, share1, share2, damp, on, weight, pull, worth, l2, shrink

    @staticmethod
    def direction(
        p, g, exp_avg, exp_avg_sq, s, away, lr, beta1, beta2,
        keep, dlr, share1, share2, damp, on, weight, pull, worth, l2, shrink,
    ):  # fmt: skip
        g = g + l2 * p
        num = weight * (g * away)
        exp_avg = beta1 * exp_avg + share1 * g
        exp_avg_sq = beta2 * exp_avg_sq + share2 * (g * g)
        s = keep * s + pull * g
        den = worth * abs(s)
        rates = where(g == g, lr, lr)
        active = where(g == g, on, on)
        u = exp_avg / (sqrt(exp_avg_sq) + damp)
        away = away + dlr * (u + shrink * p)
        return u, exp_avg, exp_avg_sq, s, away, num, den, rates, active

    @staticmethod
    def decide(
        num, den, rates, active, keep, safeguard_warmup, d0, d_coef, growth_rate, d, d_max, d_numerator
    ):  # fmt: skip
        gamma = where(active > 0, rates / active, 0)
        total = keep * d_numerator + gamma * num
        whole = where(safeguard_warmup > 0, den / gamma, den)
        d_hat = d_coef * total / whole
        known = (whole > 0) & (d_hat - d_hat == 0)
        first = where(d == d0, maximum(d, d_hat), d)
        d_max = where(known, maximum(d_max, d_hat), d_max)
        d = where(known, minimum(d_max, first * growth_rate), d)
        d_numerator = where(total - total == 0, total, d_numerator)
        return d, d_max, d_numerator

    @staticmethod
    def apply(p, u, dlr, shrink):
        return p - dlr * (u + shrink * p)

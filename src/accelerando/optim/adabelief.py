"""AdaBelief: steps by the belief in observed gradients."""

from typing import ClassVar

from accelerando.rule import Betas, NonNegative, Optimizer, maximum, sqrt


class AdaBelief(Optimizer):
    r"""Adam whose second moment measures how far gradients stray from their own mean.

    Source: Zhuang et al. (2020), arXiv:2010.07468, Algorithm 2: ε inside the recursion, centred on the
    updated
    mean; no rectification. ``weight_decay`` is decoupled as in `AdamW`; ``amsgrad`` takes the maximum of s.

    Update: :math:`m ← β_1 m + (1-β_1) g`, :math:`s ← β_2 s + (1-β_2)(g-m)^2 + ε`,
    :math:`θ ← θ(1 - ηλ) - η \frac{m/(1-β_1^t)}{\sqrt{s/(1-β_2^t)} + ε}`.

    Args:
        params: tensors, groups, or named tensors.
        lr: the rate η ≥ 0, in parameter units per step.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε ≥ 0; it accumulates to ε/(1-β₂) under the root, so keep it tiny.
        weight_decay: λ ≥ 0; each step shrinks weights by the factor 1 - ηλ.
        amsgrad: divide by the largest second moment so far.

    State: ``step``, ``exp_avg``, ``exp_avg_var`` (and ``max_exp_avg_var``) of the parameter's shape in
    float32, or
    float64 for float64 parameters, zero at the start.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter or gradient is sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = AdaBelief([p], lr=0.1)
        >>> p.sum().backward()
        >>> optimizer.step()  # g - m is 0.9 at first, so the step is 1/0.9 of Adam's
        >>> p.data
        tensor([0.8889])
    """

    lr: NonNegative = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-16
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False

    buffers: ClassVar = ("exp_avg", "exp_avg_var")

    @staticmethod
    def scalars(t, lr, beta1, beta2, weight_decay):
        rest1 = 1 - beta1
        rest2 = 1 - beta2
        bias1 = 1 - beta1**t
        bias2 = 1 - beta2**t
        shrink = 1 - lr * weight_decay
        return rest1, rest2, bias1, bias2, shrink

    @staticmethod
    def direction(g, exp_avg, exp_avg_var, beta1, rest1, bias1, beta2, rest2, bias2, eps):
        exp_avg = beta1 * exp_avg + rest1 * g
        stray = g - exp_avg
        exp_avg_var = beta2 * exp_avg_var + rest2 * (stray * stray) + eps
        u = (exp_avg / bias1) / (sqrt(exp_avg_var / bias2) + eps)
        return u, exp_avg, exp_avg_var

    @staticmethod
    def with_amsgrad(
        g, exp_avg, exp_avg_var, max_exp_avg_var, beta1, rest1, bias1, beta2, rest2, bias2, eps
    ):  # fmt: skip
        exp_avg = beta1 * exp_avg + rest1 * g
        stray = g - exp_avg
        exp_avg_var = beta2 * exp_avg_var + rest2 * (stray * stray) + eps
        max_exp_avg_var = maximum(max_exp_avg_var, exp_avg_var)
        u = (exp_avg / bias1) / (sqrt(max_exp_avg_var / bias2) + eps)
        return u, exp_avg, exp_avg_var, max_exp_avg_var

    @staticmethod
    def apply(p, u, lr, shrink):
        return p * shrink - lr * u

    variants: ClassVar = {
        "amsgrad": {"buffers": ("exp_avg", "exp_avg_var", "max_exp_avg_var"), "direction": with_amsgrad}
    }

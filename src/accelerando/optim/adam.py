"""Adam: adaptive moments."""

from typing import ClassVar

from accelerando.rule import Betas, NonNegative, Optimizer, maximum, sqrt


class Adam(Optimizer):
    r"""Steps by the mean of the gradients over the root of their mean square.

    Source: Kingma and Ba (2015), arXiv:1412.6980, Algorithm 1; ``amsgrad``: Reddi, Kale and Kumar (2018),
    arXiv:1904.09237, Algorithm 2. Deviations: with ``amsgrad`` the running maximum is of the uncorrected
    ``exp_avg_sq`` and then bias-corrected, as torch has it.

    Update: :math:`g ← g + λθ`, :math:`m ← β_1 m + (1-β_1) g`, :math:`v ← β_2 v + (1-β_2) g^2`,
    :math:`θ ← θ - η \frac{m/(1-β_1^t)}{\sqrt{v/(1-β_2^t)} + ε}`.

    Args:
        params: tensors, groups, or named tensors.
        lr: the rate η ≥ 0, in parameter units per step.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε ≥ 0, in gradient units.
        weight_decay: λ ≥ 0, an L2 penalty added to the gradient.
        amsgrad: divide by the largest second moment so far.

    State: ``step`` (0-dim float32), ``exp_avg`` and ``exp_avg_sq`` (and ``max_exp_avg_sq``) of the
    parameter's
    shape in float32, or float64 for float64 parameters, zero at the start.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter or gradient is sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = Adam([p], lr=0.1)
        >>> p.sum().backward()
        >>> optimizer.step()
        >>> p.data
        tensor([0.9000, 0.9000])
    """

    lr: NonNegative = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False

    buffers: ClassVar = ("exp_avg", "exp_avg_sq")

    @staticmethod
    def scalars(t, beta1, beta2):
        rest1 = 1 - beta1
        rest2 = 1 - beta2
        bias1 = 1 - beta1**t
        bias2 = 1 - beta2**t
        return rest1, rest2, bias1, bias2

    @staticmethod
    def direction(
        p, g, exp_avg, exp_avg_sq, beta1, rest1, bias1, beta2, rest2, bias2, eps, weight_decay
    ):  # fmt: skip
        g = g + weight_decay * p
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        u = (exp_avg / bias1) / (sqrt(exp_avg_sq / bias2) + eps)
        return u, exp_avg, exp_avg_sq

    @staticmethod
    def with_amsgrad(
        p, g, exp_avg, exp_avg_sq, max_exp_avg_sq, beta1, rest1, bias1, beta2, rest2, bias2, eps, weight_decay
    ):  # fmt: skip
        g = g + weight_decay * p
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
        u = (exp_avg / bias1) / (sqrt(max_exp_avg_sq / bias2) + eps)
        return u, exp_avg, exp_avg_sq, max_exp_avg_sq

    variants: ClassVar = {
        "amsgrad": {"buffers": ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), "direction": with_amsgrad}
    }

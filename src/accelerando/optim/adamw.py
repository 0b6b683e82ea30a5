"""AdamW: Adam with weight decay taken out of the gradient."""

from typing import ClassVar

from accelerando.rule import Betas, NonNegative, Optimizer, maximum, sqrt


class AdamW(Optimizer):
    r"""Adam whose weight decay acts on the weights directly, not through the gradient.

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101, Algorithm 2; ``weight_decay`` is torch's, that is
    the
    paper's λ divided by ``lr``. ``amsgrad``: arXiv:1904.09237, as in `Adam`.

    Update: Adam's moments without λ, then :math:`θ ← θ(1 - ηλ) - η \hat m/(\sqrt{\hat v} + ε)`.

    Args:
        params: tensors, groups, or named tensors.
        lr: the rate η ≥ 0, in parameter units per step.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε ≥ 0, in gradient units.
        weight_decay: λ ≥ 0; each step shrinks weights by the factor 1 - ηλ.
        amsgrad: divide by the largest second moment so far.

    State: as `Adam`.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter or gradient is sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = AdamW([p], lr=0.1, weight_decay=0.5)
        >>> p.sum().backward()
        >>> optimizer.step()
        >>> p.data
        tensor([0.8500, 0.8500])
    """

    lr: NonNegative = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: bool = False

    buffers: ClassVar = ("exp_avg", "exp_avg_sq")

    @staticmethod
    def scalars(t, lr, beta1, beta2, weight_decay):
        rest1 = 1 - beta1
        rest2 = 1 - beta2
        bias1 = 1 - beta1**t
        bias2 = 1 - beta2**t
        shrink = 1 - lr * weight_decay
        return rest1, rest2, bias1, bias2, shrink

    @staticmethod
    def direction(g, exp_avg, exp_avg_sq, beta1, rest1, bias1, beta2, rest2, bias2, eps):
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        u = (exp_avg / bias1) / (sqrt(exp_avg_sq / bias2) + eps)
        return u, exp_avg, exp_avg_sq

    @staticmethod
    def with_amsgrad(
        g, exp_avg, exp_avg_sq, max_exp_avg_sq, beta1, rest1, bias1, beta2, rest2, bias2, eps
    ):  # fmt: skip
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
        u = (exp_avg / bias1) / (sqrt(max_exp_avg_sq / bias2) + eps)
        return u, exp_avg, exp_avg_sq, max_exp_avg_sq

    @staticmethod
    def apply(p, u, lr, shrink):
        return p * shrink - lr * u

    variants: ClassVar = {
        "amsgrad": {"buffers": ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), "direction": with_amsgrad}
    }

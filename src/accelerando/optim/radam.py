"""RAdam: Adam whose first steps wait until the second moment can be trusted."""

from typing import ClassVar

from accelerando.rule import Betas, NonNegative, Optimizer, maximum, sqrt, where


class RAdam(Optimizer):
    r"""Adam that steps by the mean gradient alone until the second moment has enough samples, then rectifies it.

    Source: Liu et al. (2020), arXiv:1908.03265, Algorithm 2. Deviations: ε is added to :math:`\sqrt v`, where
    torch
    adds it (the paper has none); ``rectify_threshold=5`` gives torch's choice of when rectification starts; a
    checkpoint without that key loads as 5.

    Update: :math:`ρ_∞ = 2/(1-β_2) - 1`, :math:`ρ_t = ρ_∞ - 2tβ_2^t/(1-β_2^t)`;
    if :math:`ρ_t` > threshold, :math:`θ ← θ - η r_t \hat m \sqrt{1-β_2^t}/(\sqrt v + ε)` with
    :math:`r_t^2 = \frac{(ρ_t-4)(ρ_t-2)ρ_∞}{(ρ_∞-4)(ρ_∞-2)ρ_t}`, else :math:`θ ← θ - η \hat m`.

    Args:
        params: tensors, groups, or named tensors.
        lr: the rate η ≥ 0; in the first steps it multiplies raw gradients, afterwards unit-scale directions.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε ≥ 0, in gradient units.
        weight_decay: λ ≥ 0, an L2 penalty, or with ``decoupled_weight_decay`` a shrinking by 1 - ηλ.
        decoupled_weight_decay: as in AdamW.
        rectify_threshold: rectify while :math:`ρ_t` is above this; at least 4, the paper's value.

    State: ``step``, ``exp_avg``, ``exp_avg_sq`` as `Adam`.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter or gradient is sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = RAdam([p], lr=0.1)
        >>> (3 * p).sum().backward()
        >>> optimizer.step()  # the first step is the plain gradient's
        >>> p.data
        tensor([0.7000])
    """

    lr: NonNegative = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled_weight_decay: bool = False
    rectify_threshold: NonNegative = 4.0

    buffers: ClassVar = ("exp_avg", "exp_avg_sq")
    absent: ClassVar = {"rectify_threshold": 5.0}  # torch's RAdam has no such key

    @staticmethod
    def scalars(t, lr, beta1, beta2, weight_decay, decoupled_weight_decay, rectify_threshold):
        rest1 = 1 - beta1
        rest2 = 1 - beta2
        bias1 = 1 - beta1**t
        bias2 = 1 - beta2**t
        longest = 2 / rest2 - 1
        length = longest - 2 * t * beta2**t / bias2
        square = ((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length)
        rectified = where(length > maximum(rectify_threshold, 4), 1, 0)
        rectification = sqrt(bias2) * where(rectified > 0, sqrt(square), 0)
        l2 = weight_decay * (1 - decoupled_weight_decay)
        shrink = 1 - lr * weight_decay * decoupled_weight_decay
        return rest1, rest2, bias1, rectified, rectification, l2, shrink

    @staticmethod
    def direction(
        p, g, exp_avg, exp_avg_sq, beta1, rest1, bias1, beta2, rest2, eps, rectified, rectification, l2
    ):  # fmt: skip
        g = g + l2 * p
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        u = (exp_avg / bias1) * where(rectified > 0, rectification / (sqrt(exp_avg_sq) + eps), rectified + 1)
        return u, exp_avg, exp_avg_sq

    @staticmethod
    def apply(p, u, lr, shrink):
        return p * shrink - lr * u

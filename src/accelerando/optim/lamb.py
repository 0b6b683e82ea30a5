"""LAMB: layer-wise adaptive moments for large-batch training."""

from typing import ClassVar

from accelerando.rule import Betas, Cap, NonNegative, Optimizer, minimum, sqrt, where


class LAMB(Optimizer):
    r"""Adam's direction, rescaled so that every tensor moves by the fraction ``lr`` of its own norm.

    Source: You et al. (2020), arXiv:1904.00962v5, Algorithm 2 with φ(z) = z; bias correction and decay are inside
    the ratio. Deviations: the ratio is 1 where a norm is zero (TensorFlow's convention; the paper leaves it
    open).
    LAMBC is ``trust_cap``; NVLAMB is ``max_grad_norm=1.0``, and its exclusions are groups with
    ``adapt=False``.

    Update: :math:`r = \hat m/(\sqrt{\hat v} + ε) + λθ`, :math:`θ ← θ - η \frac{‖θ‖}{‖r‖} r`, norms per tensor.

    Args:
        params: tensors, groups, or named tensors.
        lr: the rate η ≥ 0, a fraction of the tensor's norm per step.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε ≥ 0, in gradient units.
        weight_decay: λ ≥ 0, decoupled, inside the ratio.
        trust_cap: the largest trust ratio, or None for no bound.
        adapt: False leaves the trust ratio at 1 in a group (biases and norms, say).

    State: ``step``, ``exp_avg``, ``exp_avg_sq`` as `Adam`.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter is complex, or it or its gradient sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = LAMB([p], lr=0.1)
        >>> p.sum().backward()
        >>> optimizer.step()  # moves by 0.1 of its norm 5
        >>> (p.data - torch.tensor([3.0, 4.0])).norm()
        tensor(0.5000)
    """

    lr: NonNegative = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0
    trust_cap: Cap = None
    adapt: bool = True

    buffers: ClassVar = ("exp_avg", "exp_avg_sq")
    sums: ClassVar = {"pp": "tensor", "uu": "tensor"}

    @staticmethod
    def scalars(t, beta1, beta2):
        rest1 = 1 - beta1
        rest2 = 1 - beta2
        unbias1 = 1 / (1 - beta1**t)
        unbias2 = 1 / (1 - beta2**t)
        return rest1, rest2, unbias1, unbias2

    @staticmethod
    def direction(
        p, g, exp_avg, exp_avg_sq, beta1, rest1, unbias1, beta2, rest2, unbias2, eps, weight_decay
    ):  # fmt: skip
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        u = unbias1 * (exp_avg / (sqrt(unbias2 * exp_avg_sq) + eps)) + weight_decay * p
        pp = p * p
        uu = u * u
        return u, exp_avg, exp_avg_sq, pp, uu

    @staticmethod
    def decide(pp, uu, trust_cap, adapt):
        ratio = where((pp > 0) & (uu > 0), sqrt(pp) / sqrt(uu), 1)
        trust = where(adapt > 0, minimum(ratio, trust_cap), 1)
        return trust

    @staticmethod
    def apply(p, u, lr, trust):
        return p - lr * trust * u

"""AdamW: Adam with weight decay taken out of the gradient."""

from typing import ClassVar

from accelerando.rule import Betas, NonNegative, Optimizer, sqrt


class AdamW(Optimizer):
    r"""Adam whose weight decay acts on the weights directly, not through the gradient.

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101, Algorithm 2; ``weight_decay`` is torch's,
    that is the paper's λ divided by ``lr``.
    """

    lr: NonNegative = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2

    buffers: ClassVar = ("exp_avg", "exp_avg_sq")

    @staticmethod
    def scalars(t, h):
        beta1, beta2 = h.betas
        return {
            "beta1": beta1,
            "rest1": 1 - beta1,
            "beta2": beta2,
            "rest2": 1 - beta2,
            "eps": h.eps,
            "bias1": 1 - beta1**t,
            "bias2": 1 - beta2**t,
            "shrink": 1 - h.lr * h.weight_decay,
        }

    @staticmethod
    def direction(
        g,
        exp_avg,
        exp_avg_sq,
        beta1,
        rest1,
        beta2,
        rest2,
        bias1,
        bias2,
        eps,
    ):
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        u = (exp_avg / bias1) / (sqrt(exp_avg_sq / bias2) + eps)
        return u, exp_avg, exp_avg_sq

    @staticmethod
    def apply(p, u, lr, shrink):
        return p * shrink - lr * u

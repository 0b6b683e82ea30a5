"""D-Adaptation: Defazio and Mishchenko (2023), arXiv:2301.07733, Adam with D-Adaptation.

All tensors share one estimate, so they are transcribed together. The norm of ⟨g_k, s_k⟩ is that of A_k, before g_k
has come into v, as the authors' package has it since its version 3.

The text has neither of the following, the authors' description of that package has both: a bias correction,
√(1-β2^k)/(1-β1^k) in front of γ; a ``growth_rate`` that bounds d_{k+1}/d_k; decay that moves x by γ d λ x. Decay is
otherwise Adam's, λx added to the gradient.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Layers = Sequence[NDArray[np.float64]]


def dadaptadam(
    start: Layers,
    gradients: Sequence[Sequence[NDArray[np.float64] | None]],
    *,
    lr: float | Sequence[float] = 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    use_bias_correction: bool = False,
    d0: float = 1e-6,
    growth_rate: float | None = None,
) -> list[NDArray[np.float64]]:
    """The trajectories of all tensors, one array a tensor; ``lr`` is γ, one number or one a step.

    Args:
        start: x_0 of each tensor.
        gradients: at each step one gradient a tensor, ``None`` where it had none.
        lr: γ.
        betas: β1 and β2.
        eps: ε.
        weight_decay: λ.
        decoupled_weight_decay: True moves x by γ d λ x instead of adding λx to the gradient.
        use_bias_correction: correct the bias of both moments, in the rate.
        d0: d_0.
        growth_rate: the largest d_{k+1}/d_k; None for no bound.
    """
    b1, b2 = betas
    root, limit = math.sqrt(b2), math.inf if growth_rate is None else growth_rate
    xs = [np.array(x, dtype=np.float64) for x in start]
    m, v, s = ([np.zeros_like(x) for x in xs] for _ in range(3))
    ages, paths = [0] * len(xs), [[x] for x in xs]
    r, d = 0.0, d0
    for k, layers in enumerate(gradients):
        gamma, inner, norm = float(lr[k] if isinstance(lr, Sequence) else lr), 0.0, 0.0
        for i, g in enumerate(layers):
            if g is not None:
                ages[i] += 1
                t, x = ages[i], xs[i]
                rate = d * gamma * (math.sqrt(1 - b2**t) / (1 - b1**t) if use_bias_correction else 1.0)
                g = g if decoupled_weight_decay else g + weight_decay * x
                inner += rate * float(np.sum(g * s[i] / (np.sqrt(v[i]) + eps)))  # ⟨g_k, s_k⟩ in A⁻¹
                m[i] = b1 * m[i] + (1 - b1) * rate * g  # m_{k+1} = β1 m_k + (1-β1) d_k γ_k g_k
                v[i] = b2 * v[i] + (1 - b2) * g**2  # v_{k+1} = β2 v_k + (1-β2) g_k²
                s[i] = root * s[i] + (1 - root) * rate * g  # s_{k+1} = √β2 s_k + (1-√β2) d_k γ_k g_k
                norm += float(np.sum(np.abs(s[i])))
                shrink = rate * weight_decay * x if decoupled_weight_decay else 0.0
                xs[i] = x - m[i] / (np.sqrt(v[i]) + eps) - shrink  # x_{k+1} = x_k - A_{k+1}⁻¹ m_{k+1}
            paths[i].append(xs[i])
        r = root * r + (1 - root) * inner
        if norm > 0:  # d_{k+1} = max(d_k, r_{k+1} / ((1-√β2) ‖s_{k+1}‖₁))
            d = max(d, min(r / ((1 - root) * norm), d * limit))
    return [np.stack(path) for path in paths]

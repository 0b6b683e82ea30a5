"""Prodigy: Mishchenko and Defazio (2023), arXiv:2306.06101v4, the Adam version of Algorithm "Prodigy".

All tensors share one estimate, so they are transcribed together. The factors (1 - √β2) of r and s are left out,
as they cancel in r/‖s‖₁.

The text has neither of the following, the authors' description of their package has both: a bias correction,
√(1-β2^k)/(1-β1^k) in front of γ; ``safeguard_warmup``, which leaves γ out of s; ``d_coef`` before the estimate; a
``growth_rate`` that bounds d_{k+1}/d_k from the second rise on; decay, which moves x by γ d λ x, or ("L2") adds λx to
the gradient.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Layers = Sequence[NDArray[np.float64]]


def prodigy(
    start: Layers,
    gradients: Sequence[Sequence[NDArray[np.float64] | None]],
    *,
    lr: float | Sequence[float] = 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
    beta3: float | None = None,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = True,
    use_bias_correction: bool = False,
    safeguard_warmup: bool = False,
    d0: float = 1e-6,
    d_coef: float = 1.0,
    growth_rate: float | None = None,
) -> list[NDArray[np.float64]]:
    """The trajectories of all tensors under Prodigy, one array a tensor; ``lr`` is γ, one number or one a step.

    Args:
        start: x_0 of each tensor.
        gradients: at each step one gradient a tensor, ``None`` where it had none.
        lr: γ.
        betas: β1 and β2.
        beta3: the decay of r and s; None for √β2, the paper's.
        eps: ε.
        weight_decay: λ.
        decoupled_weight_decay: False adds λx to the gradient.
        use_bias_correction: correct the bias of both moments, in the rate.
        safeguard_warmup: leave γ out of s.
        d0: d_0.
        d_coef: a factor of the estimate.
        growth_rate: the largest d_{k+1}/d_k after the first rise; None for no bound.
    """
    b1, b2 = betas
    b3 = math.sqrt(b2) if beta3 is None else beta3
    x0 = [np.array(x, dtype=np.float64) for x in start]
    gone = [np.zeros_like(x) for x in x0]  # x_0 - x_k, kept itself: the difference of the two loses digits
    m, v, s = ([np.zeros_like(x) for x in x0] for _ in range(3))
    ages, paths = [0] * len(x0), [[x] for x in x0]
    r, d, d_max = 0.0, d0, d0
    for k, layers in enumerate(gradients):
        gamma = float(lr[k] if isinstance(lr, Sequence) else lr)
        r = b3 * r
        for i, g in enumerate(layers):
            if g is not None:
                ages[i] += 1
                x, t = x0[i] - gone[i], ages[i]
                rate = gamma * (math.sqrt(1 - b2**t) / (1 - b1**t) if use_bias_correction else 1.0)
                g = g if decoupled_weight_decay else g + weight_decay * x
                m[i] = b1 * m[i] + (1 - b1) * d * g  # m_{k+1} = β1 m_k + (1-β1) d_k g_k
                v[i] = b2 * v[i] + (1 - b2) * d**2 * g**2  # v_{k+1} = β2 v_k + (1-β2) d_k² g_k²
                r += (
                    rate * d**2 * float(np.sum(g * gone[i]))
                )  # r_{k+1} = √β2 r_k + … γ_k d_k² ⟨g_k, x_0 - x_k⟩
                s[i] = b3 * s[i] + (1.0 if safeguard_warmup else rate) * d**2 * g  # … γ_k d_k² g_k
                shrink = weight_decay * x if decoupled_weight_decay else 0.0
                # x_{k+1} = x_k - γ_k d_k m_{k+1} / (√v_{k+1} + d_k ε)
                gone[i] = gone[i] + rate * d * (m[i] / (np.sqrt(v[i]) + d * eps) + shrink)
            paths[i].append(x0[i] - gone[i])
        norm = sum(float(np.sum(np.abs(each))) for each, t in zip(s, layers, strict=True) if t is not None)
        d, d_max = _rise(d, d_max, d_coef * r / norm if norm > 0 else d, d0, growth_rate)
    return [np.stack(path) for path in paths]


def _rise(d: float, d_max: float, d_hat: float, d0: float, growth_rate: float | None) -> tuple[float, float]:
    """The next d and the largest estimate so far; without a bound d_{k+1} = max(d_k, d̂_{k+1})."""
    first = max(d, d_hat) if d == d0 else d
    d_max = max(d_max, d_hat)
    return min(d_max, first * (math.inf if growth_rate is None else growth_rate)), d_max

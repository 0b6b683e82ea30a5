"""LAMB: You et al. (2020), arXiv:1904.00962v5, Algorithm 2, with φ(z) = z.

The bias corrections and the decay are inside the ratio: u = m̂/(√v̂+ε) + λx, and x moves by η φ(‖x‖)/‖u‖ · u.
Version 3 of the text has no bias correction (``bias_correction=False``).

The paper does not say what to do where a norm is zero; the ratio is then 1, as in TensorFlow's code.

Variants in use, by their options: ``trust_cap`` caps the ratio (LAMBC caps at 1), ``norm_cap`` the weights'
norm (φ(z) = min(z, 10) in several libraries); ``adapt=False`` takes the ratio as 1 (BERT's recipe, for biases
and norms, together with ``weight_decay=0``).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def lamb(
    start: NDArray[np.float64],
    gradients: Sequence[NDArray[np.float64] | None],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    trust_cap: float | None = None,
    norm_cap: float | None = None,
    adapt: bool = True,
    bias_correction: bool = True,
) -> NDArray[np.float64]:
    """The trajectory of one layer under LAMB, Algorithm 2; ``lr`` is η.

    Args:
        start: x_1, one layer.
        gradients: g_1, g_2, …; ``None`` where the layer had none.
        lr: η.
        betas: β1 and β2.
        eps: ε.
        weight_decay: λ, inside the ratio.
        trust_cap: an upper bound on the trust ratio; None for none, which is the paper's.
        norm_cap: an upper bound on φ(‖x‖); None for φ(z) = z.
        adapt: False leaves the ratio out, as for an excluded layer.
        bias_correction: False for version 3 of the text.
    """
    b1, b2 = betas
    x = np.array(start, dtype=np.float64)
    m, v, t = np.zeros_like(x), np.zeros_like(x), 0
    path = [x]
    for g in gradients:
        if g is not None:
            t += 1
            m = b1 * m + (1 - b1) * g  # "m_t = β1 m_{t-1} + (1-β1) g_t"
            v = b2 * v + (1 - b2) * g**2  # "v_t = β2 v_{t-1} + (1-β2) g_t²"
            m_hat = m / (1 - b1**t) if bias_correction else m  # "m_t = m_t / (1-β1^t)"
            v_hat = v / (1 - b2**t) if bias_correction else v  # "v_t = v_t / (1-β2^t)"
            u = m_hat / (np.sqrt(v_hat) + eps) + weight_decay * x  # "r_t + λ x_t"
            norm_x, norm_u = float(np.linalg.norm(x)), float(np.linalg.norm(u))
            phi = norm_x if norm_cap is None else min(norm_x, norm_cap)
            ratio = phi / norm_u if adapt and norm_x > 0 and norm_u > 0 else 1.0
            ratio = ratio if trust_cap is None else min(ratio, trust_cap)
            x = x - lr * ratio * u  # "x_{t+1} = x_t - η φ(‖x_t‖)/‖r_t + λ x_t‖ (r_t + λ x_t)"
        path.append(x)
    return np.stack(path)

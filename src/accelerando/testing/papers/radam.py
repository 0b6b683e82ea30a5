"""RAdam: Liu et al. (2020), arXiv:1908.03265v4, Algorithm 2.

The paper rectifies when ρ_t > 4; PyTorch and most libraries wait for ρ_t > 5, which at β2 = 0.999 is one step
later. ``rectify_threshold`` is that number.

Deviation, of every implementation: the paper's l_t = √((1-β2^t)/v_t) has no ε and divides by zero at v_t = 0.
It stands here where PyTorch puts it, l_t = √(1-β2^t)/(√v_t + ε).

``weight_decay`` is not the paper's: an L2 penalty by default, taken off the weights directly with
``decoupled_weight_decay``, both as in PyTorch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def radam(
    start: NDArray[np.float64],
    gradients: Sequence[NDArray[np.float64] | None],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    rectify_threshold: float = 4.0,
    decoupled_weight_decay: bool = False,
) -> NDArray[np.float64]:
    """The trajectory of RAdam, Algorithm 2; ``lr`` is α.

    Args:
        start: θ_0, of any shape.
        gradients: g_1, g_2, …; ``None`` where the parameter had none.
        lr: α.
        betas: β1 and β2.
        eps: added to √v_t.
        weight_decay: L2 coefficient, or the decoupled one divided by ``lr``.
        rectify_threshold: the ρ_t above which the step is rectified: 4 in the paper.
        decoupled_weight_decay: multiply θ by 1 - lr · weight_decay instead of changing the gradient.
    """
    b1, b2 = betas
    theta = np.array(start, dtype=np.float64)
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0  # line 1
    rho_inf = 2 / (1 - b2) - 1  # line 2
    path = [theta]
    for gradient in gradients:
        if gradient is not None:
            t += 1
            g = gradient if decoupled_weight_decay else gradient + weight_decay * theta
            decayed = theta * (1 - lr * weight_decay) if decoupled_weight_decay else theta
            v = b2 * v + (1 - b2) * g**2  # line 5
            m = b1 * m + (1 - b1) * g  # line 6
            m_hat = m / (1 - b1**t)  # line 7
            rho = rho_inf - 2 * t * b2**t / (1 - b2**t)  # line 8
            if rho > rectify_threshold:  # line 9
                length = np.sqrt(1 - b2**t) / (np.sqrt(v) + eps)  # line 10
                rect = np.sqrt(
                    ((rho - 4) * (rho - 2) * rho_inf) / ((rho_inf - 4) * (rho_inf - 2) * rho)
                )  # line 11
                theta = decayed - lr * rect * m_hat * length  # line 12
            else:
                theta = decayed - lr * m_hat  # line 14
        path.append(theta)
    return np.stack(path)

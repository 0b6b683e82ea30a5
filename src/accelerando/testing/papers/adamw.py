"""AdamW: Loshchilov and Hutter (2019), arXiv:1711.05101v3, Algorithm 2 (the green lines).

The paper's λ acts beside the learning rate: θ ← θ - η(α m̂/(√v̂+ε) + λθ). PyTorch's ``weight_decay``, used
here, is that λ divided by ``lr``: λ = lr · weight_decay. The schedule multiplier η is 1.

``amsgrad`` follows PyTorch: the maximum runs over the second moment before its bias correction.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def adamw(
    start: NDArray[np.float64],
    gradients: Sequence[NDArray[np.float64] | None],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
) -> NDArray[np.float64]:
    """The trajectory of AdamW, Algorithm 2; ``lr`` is α and ``lr * weight_decay`` is λ.

    Args:
        start: θ_0, of any shape.
        gradients: g_1, g_2, …; ``None`` where the parameter had none.
        lr: α.
        betas: β1 and β2.
        eps: ε.
        weight_decay: λ / α.
        amsgrad: divide by the running maximum of the second moment.
    """
    b1, b2 = betas
    lam = lr * weight_decay
    theta = np.array(start, dtype=np.float64)
    m, v, v_max, t = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta), 0
    path = [theta]
    for g in gradients:
        if g is not None:
            t += 1  # line 4
            m = b1 * m + (1 - b1) * g  # line 7
            v = b2 * v + (1 - b2) * g**2  # line 8
            v_max = np.maximum(v_max, v)
            m_hat = m / (1 - b1**t)  # line 9
            v_hat = (v_max if amsgrad else v) / (1 - b2**t)  # line 10
            theta = theta - (lr * m_hat / (np.sqrt(v_hat) + eps) + lam * theta)  # line 12, η = 1
        path.append(theta)
    return np.stack(path)

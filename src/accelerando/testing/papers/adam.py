"""Adam: Kingma and Ba (2015), arXiv:1412.6980v9, Algorithm 1.

``weight_decay`` is the L2 penalty of the field's usage, λθ added to the gradient; the paper has none.

``amsgrad`` is Reddi, Kale and Kumar (2018), arXiv:1904.09237, Algorithm 2, as PyTorch reads it: the running
maximum is taken over the second moment *before* its bias correction, and the bias corrections of Adam are
then applied. The paper's Algorithm 2 has no bias correction at all.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def adam(
    start: NDArray[np.float64],
    gradients: Sequence[NDArray[np.float64] | None],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> NDArray[np.float64]:
    """The trajectory of Adam, Algorithm 1; ``lr`` is α, ``weight_decay`` an L2 penalty.

    Args:
        start: θ_0, of any shape.
        gradients: g_1, g_2, …; ``None`` where the parameter had none.
        lr: α.
        betas: β1 and β2.
        eps: ε.
        weight_decay: the L2 coefficient λ; g + λθ takes the gradient's place.
        amsgrad: divide by the running maximum of the second moment.
    """
    b1, b2 = betas
    theta = np.array(start, dtype=np.float64)
    m, v, v_max, t = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta), 0
    path = [theta]
    for gradient in gradients:
        if gradient is not None:
            t += 1
            g = gradient + weight_decay * theta
            m = b1 * m + (1 - b1) * g  # biased first moment
            v = b2 * v + (1 - b2) * g**2  # biased second raw moment
            v_max = np.maximum(v_max, v)
            m_hat = m / (1 - b1**t)
            v_hat = (v_max if amsgrad else v) / (1 - b2**t)
            theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
        path.append(theta)
    return np.stack(path)

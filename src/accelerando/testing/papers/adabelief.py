"""AdaBelief: Zhuang et al. (2020), arXiv:2010.07468v5, Algorithm 2, without the projection.

The second moment is centred on the *updated* mean and ε stands inside its recursion, where it accumulates
to ε/(1-β2); the same ε is added to the root. No rectification: that is RAdam's idea, switched on by default
in the authors' code but not in the paper. ``amsgrad`` is the running maximum of s, before its bias correction
and apart from the recursion, as the authors' code has it. ``weight_decay`` is decoupled: θ is multiplied by
1 - lr · weight_decay.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def adabelief(
    start: NDArray[np.float64],
    gradients: Sequence[NDArray[np.float64] | None],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-16,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> NDArray[np.float64]:
    """The trajectory of AdaBelief, Algorithm 2; ``lr`` is α.

    Args:
        start: θ_0, of any shape.
        gradients: g_1, g_2, …; ``None`` where the parameter had none.
        lr: α.
        betas: β1 and β2.
        eps: ε, both inside the recursion of s and beside its root.
        weight_decay: the decoupled coefficient, divided by ``lr``.
        amsgrad: divide by the running maximum of s.
    """
    b1, b2 = betas
    theta = np.array(start, dtype=np.float64)
    m, s, s_max, t = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta), 0
    path = [theta]
    for g in gradients:
        if g is not None:
            t += 1
            m = b1 * m + (1 - b1) * g
            s = b2 * s + (1 - b2) * (g - m) ** 2 + eps
            s_max = np.maximum(s_max, s)
            m_hat = m / (1 - b1**t)
            s_hat = (s_max if amsgrad else s) / (1 - b2**t)
            theta = theta * (1 - lr * weight_decay) - lr * m_hat / (np.sqrt(s_hat) + eps)
        path.append(theta)
    return np.stack(path)

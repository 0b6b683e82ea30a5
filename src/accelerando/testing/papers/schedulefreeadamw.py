"""Schedule-Free AdamW: Defazio et al. (2024), arXiv:2405.15682, Algorithm 1.

The weights of the average are γ_i² there; ``weight_lr_power`` is that power, ``r`` a further weight t^r, and γ_i its
largest value so far, as the authors' description of their package has it. Two ways to correct the bias of v are theirs:
in v, which their package does by default, and, with ``corrects_rate``, as a factor √(1-β2^t) of γ_t, so that it is in
the weights of the average, too; that one they call the paper's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def schedulefreeadamw(
    start: NDArray[np.float64],
    gradients: Sequence[NDArray[np.float64] | None],
    *,
    lr: float | Sequence[float] = 2.5e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
    corrects_rate: bool = False,
    average: bool = False,
) -> NDArray[np.float64]:
    """The trajectory of y, where gradients are taken, or of x, the average; ``lr`` is γ, one number or one a step.

    Args:
        start: z_1 = x_1.
        gradients: g_1, g_2, …; ``None`` where the parameter had none.
        lr: γ.
        betas: β1 and β2.
        eps: ε.
        weight_decay: λ.
        warmup_steps: T_warmup.
        r: a power of t in the average's weights.
        weight_lr_power: the power of γ in the average's weights.
        corrects_rate: correct the bias of v in γ.
        average: give x.
    """
    b1, b2 = betas
    z = np.array(start, dtype=np.float64)
    x, v, t, total, highest = z, np.zeros_like(z), 0, 0.0, 0.0
    y = (1 - b1) * z + b1 * x
    path = [z]
    for k, g in enumerate(gradients):
        if g is not None:
            t += 1
            gamma = float(lr[k] if isinstance(lr, Sequence) else lr)
            gamma *= min(1.0, t / warmup_steps) if warmup_steps else 1.0
            gamma *= np.sqrt(1 - b2**t) if corrects_rate else 1.0
            v = b2 * v + (1 - b2) * g**2
            v_hat = v if corrects_rate else v / (1 - b2**t)
            z = z - gamma * g / (np.sqrt(v_hat) + eps) - gamma * weight_decay * y
            highest = max(highest, gamma)
            weight = t**r * highest**weight_lr_power
            total += weight
            c = weight / total if total > 0 else 0.0
            x = (1 - c) * x + c * z
            y = (1 - b1) * z + b1 * x
        path.append(x if average else y)
    return np.stack(path)

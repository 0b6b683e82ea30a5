"""NVLAMB: Sreenivas et al. (2019), NVIDIA's LAMB for BERT, in the reading of apex's FusedLAMB.

Two differences from LAMB. The gradients of the *whole model* are brought to a global norm of at most
``max_grad_norm`` before anything else; NVIDIA's text divides by the norm always, apex only when it is above
the limit, which is transcribed here. And every layer is adapted, also those without decay.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Layers = Sequence[NDArray[np.float64]]


def nvlamb(
    start: Layers,
    gradients: Sequence[Layers],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: Sequence[float] = (),
    max_grad_norm: float = 1.0,
) -> list[NDArray[np.float64]]:
    """The trajectories of all layers under NVLAMB, one array a layer.

    Args:
        start: the layers' weights.
        gradients: at each step, one gradient a layer.
        lr: η.
        betas: β1 and β2.
        eps: ε.
        weight_decay: λ of each layer; empty for none.
        max_grad_norm: the largest global norm of the gradients.
    """
    b1, b2 = betas
    decay = list(weight_decay) or [0.0] * len(start)
    xs = [np.array(x, dtype=np.float64) for x in start]
    ms, vs = [np.zeros_like(x) for x in xs], [np.zeros_like(x) for x in xs]
    paths = [[x] for x in xs]
    for t, layers in enumerate(gradients, start=1):
        whole = np.sqrt(sum(float(np.sum(g**2)) for g in layers))
        shrink = max_grad_norm / whole if whole > max_grad_norm else 1.0
        for i, g in enumerate(layers):
            ms[i] = b1 * ms[i] + (1 - b1) * (shrink * g)
            vs[i] = b2 * vs[i] + (1 - b2) * (shrink * g) ** 2
            u = (ms[i] / (1 - b1**t)) / (np.sqrt(vs[i] / (1 - b2**t)) + eps) + decay[i] * xs[i]
            norm_x, norm_u = np.linalg.norm(xs[i]), np.linalg.norm(u)
            ratio = norm_x / norm_u if norm_x > 0 and norm_u > 0 else 1.0
            xs[i] = xs[i] - lr * ratio * u
            paths[i].append(xs[i])
    return [np.stack(path) for path in paths]

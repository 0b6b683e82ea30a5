"""Accelerando: this library, ``docs/guide/self-raising.md``, the box.

One group of tensors. Where a tensor has no gradient it stays, and its own count of steps with it; the run's
count goes on.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def accelerando(
    starts: Sequence[Array],
    gradients: Sequence[Sequence[Array | None]],
    *,
    lr: float = 1e-6,
    betas: tuple[float, float] = (0.9, 0.99),
    eps: float = 0.0,
    weight_decay: float = 1e-3,
    total_steps: float = math.inf,
    scale: float | None = None,
    evaluated: bool = False,
) -> list[Array]:
    """The trajectories of all tensors.

    Args:
        starts: the initial tensors.
        gradients: for each step, one gradient a tensor, or ``None``.
        lr: the first step's rate.
        betas: β1 and β2.
        eps: ε.
        weight_decay: λ, decoupled, per unit of the relative rate.
        total_steps: T, infinite where it is not known.
        scale: the unit of rate; measured where it is None.
        evaluated: give the trajectories of what is evaluated where T is not known: the average of the weights
            since the probe's end.
    """
    b1, b2 = betas
    r = _unit(starts) if scale is None else scale
    x = [np.array(s, dtype=np.float64) for s in starts]
    m, v, t = [np.zeros_like(p) for p in x], [np.zeros_like(p) for p in x], [0] * len(x)
    probe = _Probe(total_steps)
    paths = [[p] for p in x]
    averages, averaged = list(x), [[p] for p in x]
    for step in gradients:
        net = gross = 0.0
        for i, g in enumerate(step):
            if g is not None:
                t[i] += 1
                v[i] = b2 * v[i] + (1 - b2) * g**2
                size = np.maximum(np.sqrt(v[i] / (1 - b2 ** t[i])) + eps, 1e-19)
                product = (g / size) * (m[i] / size)  # the momentum before g joins it
                net += float(product.sum())
                gross += float(np.abs(product).sum())
                m[i] = b1 * m[i] + (1 - b1) * g
                rate = min(lr * 10.0 ** min(t[i] - 1, 30), probe.rate * r)
                x[i] = x[i] * (1 - rate / r * weight_decay) - rate * m[i] / (1 - b1 ** t[i]) / size
                share = probe.share()
                averages[i] = (1 - share) * averages[i] + share * x[i]
            paths[i].append(x[i])
            averaged[i].append(averages[i])
        probe.decide(net, gross)
    return [np.stack(path) for path in (averaged if evaluated else paths)]


class _Probe:
    """Agreement, heard step by step, and the rate that follows from it, in units of the scale."""

    def __init__(self, total: float) -> None:
        self.total, self.age, self.rate = total, 0, 0.005
        self.heard: list[float] = []
        self.flips = self.trend = self.fall = self.top = self.goal = 0.0
        self.best = 1e-3
        self.crossed = self.risen = 0.0

    def decide(self, net: float, gross: float) -> None:
        """Take in one step's two sums, and set the next step's rate."""
        self.age += 1
        if gross > 0:
            self.listen(net / gross)
        else:
            self.pause()
        if self.crossed:
            self.rate = self.planned()

    def share(self) -> float:
        """How much of this step's weights the average takes in: all of them as long as the probe lasts."""
        if not self.crossed:
            return 1.0
        return 9 / (self.age + 1 - self.crossed + 8)

    def pause(self) -> None:
        """No reading: it counts as one like the last."""
        if self.age > 2:
            self.flips -= max(1 / (self.age - 2), 0.05) * self.flips
        self.heard.append(self.heard[-1] if self.heard else 0.0)

    def listen(self, a: float) -> None:
        """One reading of agreement."""
        before = self.heard[-1] if self.heard else 0.0
        self.heard.append(a)
        if self.age > 2:
            self.flips += max(1 / (self.age - 2), 0.05) * ((a - before) ** 2 / 2 - self.flips)
        need = max(1.0, 2 * self.flips / self.best) if self.age > 6 else 1.0
        slow = math.sqrt(need)
        self.trend += max(1 / max(self.age - 1, 1), 1 / (5 * slow)) * (a - self.trend)
        if self.age > 5:
            self.best = max(self.best, self.trend)
        self.fall = max(0.0, self.fall - a)
        if self.crossed:
            return
        if self.fall == 0:
            self.top = self.rate
        if self.trend > 0:
            self.rate = min(0.3, self.rate * 1.1 ** (min(1.0, self.trend / self.best) / slow))
        fell = self.fall > need and self.age > 6
        if fell or self.rate >= 0.3 or self.age > 0.4 * self.total:
            self.crossed = self.age
            self.goal = min(0.3, 2 * self.top)
            timed = math.isfinite(self.total)
            self.risen = self.age + (0.25 * self.total if timed else max(40, 2 * self.age))

    def planned(self) -> float:
        """The rate once the probe is over."""
        if self.age < self.risen:
            return self.goal * (self.age - self.crossed) / (self.risen - self.crossed)
        if math.isfinite(self.total):
            return self.goal * max(0.0, self.total - self.age) / (self.total - self.risen)
        return self.goal * math.sqrt(3 * self.risen / (2 * self.risen + self.age))


def _unit(starts: Sequence[Array]) -> float:
    """The middle root mean square of the matrices' entries that are not zero, else of the vectors'."""
    for least in (2, 0):
        sizes = [
            math.sqrt(np.mean(s[s != 0] ** 2)) for s in map(np.asarray, starts) if s.ndim >= least and s.any()
        ]
        if sizes:
            return float(sorted(sizes)[(len(sizes) - 1) // 2])
    return 0.05

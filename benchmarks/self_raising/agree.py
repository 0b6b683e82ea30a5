"""AGREE, the candidate that `Accelerando` came from: explore in step time, then follow in log time, linear to zero."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Agreement:
    """The decision: one cosine in, a rate out."""

    rms: float
    lr: float
    c: float = 0.0
    spread: float = 0.0
    ceiling: float = 0.0
    memory: float = 5.0
    heard: int = 0
    last: float = 0.0
    good: float | None = None
    left: int = 0
    followed: int = 0
    quiet: float = 0.0
    lasting: int = 0

    def hear(self, a: float, t: int) -> None:
        """Take one reading at step t and move the rate."""
        self.heard += 1
        k = self.heard
        if 2 <= k <= 100:
            self.spread += (a - self.last) ** 2 / 2
        self.last = a
        deviation = math.sqrt(self.spread / max(1, min(k, 100) - 1)) + 1e-6
        self.c += max(1 / k, 1 / self.memory) * (a - self.c)
        error = deviation / math.sqrt(min(k, 2 * self.memory))
        if k < 5:
            return
        level = max(self.ceiling if self.ceiling > 0 else abs(self.c), 1e-6)
        self.memory = min(100.0, max(4.0, (2.5 * deviation / level) ** 2))
        if self.left:
            self.follow(a, t)
        else:
            self.explore(a, error, t)

    def explore(self, a: float, error: float, t: int) -> None:
        """Up by at most two a step while readings stay near their ceiling; back to the last good rate at the end."""
        clear, safe = self.memory <= 6, 2e-3 * self.rms
        if self.c > 2 * error:
            self.ceiling = max(self.ceiling, self.c - error)
        top = self.ceiling
        share = min(1.0, max(0.0, (min(a, self.c) if clear else self.c) / top)) if top > 0 else 0.0
        if top > 0 and self.c / top > 0.4:
            self.good = self.lr
        below = top > 0 and self.c + (0.0 if clear else 0.5 * error) < 0.1 * top
        if self.lr > safe and (below or self.c < -2.5 * error):
            self.lr = min(self.lr, self.good or self.lr / 4)
            self.left, self.quiet, self.followed = t, 0.0, 0
            return
        up = 2 ** (share**2 * min(1.0, 5 / self.memory)) if top > 0 else 1.0
        if self.lr < safe:
            up = max(up, 1.15 if self.c > -2 * error else 1.0)
        elif not clear and self.c > -error:
            up = max(up, 1.03)
        self.lr *= up

    def follow(self, a: float, t: int) -> None:
        """Up or down by a factor of e in a factor of e of time; explores anew when agreement stays high."""
        self.followed += 1
        self.quiet += max(0.02, 1 / self.followed) * (a - self.quiet)
        if self.followed > 20 and self.ceiling > 0:
            share = min(1.0, max(-1.0, self.quiet / (0.5 * self.ceiling)))
            self.lr *= math.exp((1.0 if share > 0 else 0.5) * share / t)
        self.lasting = self.lasting + 1 if self.quiet > 0.5 * self.ceiling else 0
        if self.lasting >= 50:
            self.left, self.ceiling, self.heard, self.lasting = 0, 0.0, 0, 0


@dataclass
class Agree:
    """AdamW at that rate, all parameters in one vector; the rate is decided before the step it moves."""

    model: nn.Module
    steps: int
    start: float
    beta2: float = 0.999
    decay: float = 0.01
    t: int = 0
    rate: float = 0.0

    def __post_init__(self) -> None:
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        flat = torch.cat([p.detach().flatten() for p in self.params])
        place = 0
        for p in self.params:
            p.data = flat[place : place + p.numel()].view_as(p)
            place += p.numel()
        matrices = [p.detach().flatten() for p in self.params if p.ndim > 1]
        rms = float(torch.cat(matrices).square().mean().sqrt()) if matrices else 0.0
        self.p, self.m, self.v = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        self.decision = Agreement(rms, min(self.start, max(1e-4 * rms, 1e-6)))

    def direction(self, t: int) -> Tensor:
        return (self.m / (1 - 0.9**t)) / ((self.v / (1 - self.beta2**t)).sqrt() + 1e-8)

    def step(self, loss: float) -> None:
        g = torch.cat([p.grad.flatten() for p in self.params])
        self.t += 1
        if not torch.isfinite(g).all():
            self.decision.lr /= 4
            return
        if self.t > 1:
            u = self.direction(self.t - 1)
            self.decision.hear(float(g @ u / (g.norm() * u.norm() + 1e-30)), self.t)
        self.m.lerp_(g, 0.1)
        self.v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        self.rate = self.decision.lr * (1 - (self.t - 1) / self.steps)
        self.p.mul_(1 - self.rate * self.decay).sub_(self.direction(self.t), alpha=self.rate)

    def finish(self) -> None:
        """Nothing to put in place."""

    def told(self) -> dict[str, Any]:
        return {"found": self.decision.lr, "climb": self.decision.left or self.t}

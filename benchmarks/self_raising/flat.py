"""The method on one flat vector, with every constant open: what the sweeps turn."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from methods import trainable
from torch import nn


@dataclass(frozen=True)
class Constants:
    """The numbers of the method, as shipped; a sweep replaces one at a time."""

    beta2: float = 0.99
    decay: float = 0.01
    eps: float = 1e-8
    floor: float = 0.005
    cap: float = 0.4
    growth: float = 1.2
    shortest: float = 5.0
    longest: float = 12.0
    noise: float = 0.3
    patience: float = 0.6
    seen: int = 10
    probe: float = 0.4
    back: float = 0.1
    rise: float = 0.25
    goal: float = 1.5
    flips: float = 0.36
    signal: str = "old"
    """Which denominator the previous direction has: the previous one (old) or this step's (new)."""
    lift: bool = True
    hold: float = 0.0
    normalised: bool = True


def scale_of(model: nn.Module) -> float:
    matrices = [p.detach()[p.detach() != 0].double() for p in trainable(model) if p.ndim >= 2]
    if not sum(m.numel() for m in matrices):
        matrices = [p.detach()[p.detach() != 0].double() for p in trainable(model)]
    count = sum(m.numel() for m in matrices)
    return math.sqrt(sum(float(m.square().sum()) for m in matrices) / count) if count else 0.05


class Flat:
    def __init__(self, model: nn.Module, steps: int, lr: float, constants: Constants) -> None:
        self.k, self.T, self.lr0 = constants, steps, lr
        self.params = trainable(model)
        self.scale = scale_of(model)
        flat = torch.cat([p.detach().flatten() for p in self.params])
        place = 0
        for p in self.params:
            p.data = flat[place : place + p.numel()].view_as(p)
            place += p.numel()
        self.p, self.m, self.v = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        self.t = 0
        self.rho = constants.floor
        self.s = self.w = self.last = self.c = self.against = 0.0
        self.best, self.n = 1e-3, constants.shortest
        self.crossed = self.risen = self.goal = 0.0
        self.rate = 0.0
        self.readings = 0
        self.agreements: list[float] = []

    def step(self, loss: float) -> None:
        k = self.k
        g = torch.cat([p.grad.flatten() for p in self.params])
        self.t += 1
        m, v, t = self.m, self.v, self.t
        old_m = m.clone() if k.signal == "new" else None
        if k.signal == "old":
            product = g * m / (v.sqrt() + k.eps)
        m.lerp_(g, 0.1)
        v.mul_(k.beta2).addcmul_(g, g, value=1 - k.beta2)
        denominator = (v / (1 - k.beta2**t)).sqrt_().add_(k.eps)
        if k.signal == "new":
            product = g * old_m / denominator
        if k.signal == "sign":
            product = None
        self.rate = self.rho * self.scale
        if k.lift:
            self.rate = min(self.rate, self.lr0 * 10.0 ** min(t - 1, 30))
        self.p.mul_(1 - self.rate * k.decay).addcdiv_(m, denominator, value=-self.rate / (1 - 0.9**t))
        total = float(product.abs().sum())
        if t > 1 and total > 0:
            self.decide(float(product.sum()) / total)

    def decide(self, a: float) -> None:
        k, t = self.k, self.t
        self.readings += 1
        self.agreements.append(a)
        if self.readings > 1:
            self.c = 0.95 * self.c + 0.05 * (a - self.last) ** 2 / 2
        c = self.c / (1 - 0.95 ** max(1, self.readings - 1))
        self.last = a
        if not self.crossed:
            n = self.n
            self.s += (a - self.s) / n
            self.w += (1 - self.w) / n
            f = self.s / self.w
            if self.readings >= 5:
                self.best = max(self.best, f)
            if self.readings >= 8:
                want = min(max(c / (k.noise * self.best) ** 2, k.shortest), k.longest)
                self.n += 0.2 * (want - self.n)
            if f > 0:
                share = min(1.0, f / self.best) if k.normalised else 1.0
                self.rho = min(k.cap, self.rho * k.growth ** (k.shortest / n * share))
                self.against = 0
            else:
                self.against += 1
            stop = self.against >= k.patience * n and self.readings >= k.seen
            if stop or self.rho >= k.cap or t > k.probe * self.T:
                self.crossed = t
                self.risen = t + k.rise * self.T
                self.goal = k.cap if c > k.flips else min(k.cap, k.goal * self.rho)
                self.low = min(k.back * self.rho, self.goal)
        if self.crossed:
            if t < self.risen:
                self.rho = self.low + (self.goal - self.low) * (t - self.crossed) / (
                    self.risen - self.crossed
                )
            else:
                held = self.risen + k.hold * (self.T - self.risen)
                self.rho = self.goal * min(1.0, max(0.0, (self.T - t) / (self.T - held)))

    def finish(self) -> None:
        pass

    def told(self) -> dict[str, Any]:
        return {"found": self.goal * self.scale, "climb": self.crossed}

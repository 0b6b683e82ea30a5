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
    decay: float = 1e-3
    eps: float = 0.0
    floor: float = 0.005
    """Where the probe begins, in units of the scale."""
    cap: float = 0.3
    growth: float = 1.1
    memory: float = 5.0
    """Steps that the trend of agreement looks back, without noise."""
    fall: float = 1.0
    """The probe ends when the sum of agreement has fallen this far below its top, or…"""
    noise: float = 2.0
    """… by this many times the variance of a reading over the best trend, if that is more."""
    probe: float = 0.4
    """The longest probe, as a share of the run."""
    rise: float = 0.25
    back: float = 0.0
    """Where the rise begins, in units of its goal."""
    goal: float = 2.0
    """Where the rise ends, in units of the rate at which the sum of agreement had its top."""
    known: float = 0.0
    """Where the rise ends, in parameter units, whatever the probe says; 0 where it is asked."""
    hold: float = 0.0
    """How long the goal is held before the rate settles, as a share of the run."""
    slowing: bool = True
    """Whether the probe climbs more slowly while the trend is below its best."""
    restore: bool = False
    """Whether the initial weights come back when the probe ends."""
    bounded: bool = True
    """Whether the cap also bounds the goal of a probe that ended below it."""
    scale: str = "median"
    signal: str = "own"
    """The unit of a coordinate's product g·m: own, its v; new, √v; old, √v before this step."""


def rms(p: torch.Tensor) -> float:
    kept = p.detach()[p.detach() != 0].double()
    return math.sqrt(float(kept.square().mean())) if kept.numel() else 0.0


def scale_of(model: nn.Module, kind: str = "median") -> float:
    """The middle one of the matrices' root mean squares, else of the vectors'; or that of all matrices' entries."""
    for least in (2, 0):
        kept = [p for p in trainable(model) if p.ndim >= least and rms(p) > 0]
        if kept and kind == "all":
            return rms(torch.cat([p.detach().flatten() for p in kept]))
        if kept:
            return sorted(map(rms, kept))[(len(kept) - 1) // 2]
    return 0.05


class Flat:
    """The method, all parameters in one vector, decided in plain numbers."""

    def __init__(self, model: nn.Module, steps: int, lr: float, constants: Constants) -> None:
        self.k, self.T, self.lr0 = constants, steps, lr
        self.params = trainable(model)
        self.scale = scale_of(model, constants.scale)
        flat = torch.cat([p.detach().flatten() for p in self.params])
        place = 0
        for p in self.params:
            p.data = flat[place : place + p.numel()].view_as(p)
            place += p.numel()
        self.p, self.m, self.v = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        self.start = flat.clone() if constants.restore else None
        self.t = 0
        self.rho = constants.floor
        self.trend = self.last = self.flips = self.fall = self.top = 0.0
        self.best = 1e-3
        self.crossed = self.risen = self.goal = 0.0
        self.rate = 0.0
        self.agreements: list[float] = []

    def step(self, loss: float) -> None:
        k = self.k
        g = torch.cat([p.grad.flatten() for p in self.params])
        self.t += 1
        m, v, t = self.m, self.v, self.t
        net = g * m
        if k.signal == "old":
            net = (net / (v.sqrt() + k.eps)).nan_to_num_(0.0)
        v.mul_(k.beta2).addcmul_(g, g, value=1 - k.beta2)
        inverse = 1 / ((v / (1 - k.beta2**t)).sqrt_() + k.eps).clamp_min_(1e-19)
        if k.signal != "old":
            net = net * (inverse * inverse if k.signal == "own" else inverse)
        m.lerp_(g, 0.1)
        self.rate = min(self.rho * self.scale, self.lr0 * 10.0 ** min(t - 1, 30))
        self.p.mul_(1 - self.rate / self.scale * k.decay).addcmul_(
            m, inverse, value=-self.rate / (1 - 0.9**t)
        )
        self.decide(float(net.sum()), float(net.abs().sum()))

    def decide(self, net: float, gross: float) -> None:
        k, age = self.k, self.t
        if gross > 0:
            fresh = net / gross
            turn = (fresh - self.last) ** 2 / 2
            self.flips = self.flips + max(1 / (age - 2), 0.05) * (turn - self.flips) if age > 2 else 0.0
            need = max(k.fall, k.noise * self.flips / self.best) if age > 6 else k.fall
            slow = math.sqrt(max(1.0, need))
            self.trend += max(1 / max(age - 1, 1), 1 / (k.memory * slow)) * (fresh - self.trend)
            self.best = max(self.best, self.trend) if age > 5 else self.best
            self.last = fresh
            self.agreements.append(fresh)
            self.fall = max(0.0, self.fall - fresh)
            if not self.crossed:
                self.top = self.rho if self.fall == 0.0 else self.top
                if self.trend > 0:
                    ease = min(1.0, self.trend / self.best) if k.slowing else 1.0
                    self.rho = min(k.cap, self.rho * k.growth ** (ease / slow))
                if (self.fall > need and age > 6) or self.rho >= k.cap or age > k.probe * self.T:
                    self.end_probe(age)
        if self.crossed:
            self.rho = self.planned(age)

    def end_probe(self, age: int) -> None:
        k = self.k
        self.crossed, self.risen = age, age + k.rise * self.T
        self.goal = k.goal * self.top
        if k.bounded or self.top >= k.cap:
            self.goal = min(k.cap, self.goal)
        self.goal = k.known / self.scale if k.known else self.goal
        if self.start is not None:
            self.p.copy_(self.start)

    def planned(self, age: int) -> float:
        """The rate after the probe, by the clock alone."""
        k = self.k
        if age < self.risen:
            share = (age - self.crossed) / (self.risen - self.crossed)
            return self.goal * (k.back + (1 - k.back) * share)
        held = self.risen + k.hold * self.T
        return self.goal * min(1.0, max(0.0, self.T - age) / max(1e-9, self.T - held))

    def finish(self) -> None:
        pass

    def told(self) -> dict[str, Any]:
        return {"found": self.goal * self.scale, "climb": self.crossed}

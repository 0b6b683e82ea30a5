"""Accelerando: Adam's direction at a rate that the method raises and settles by itself."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from accelerando.errors import HyperparameterError
from accelerando.optim.adamw import AdamW
from accelerando.optim.trace import Trace, Turn
from accelerando.rule import Betas, Cap, NonNegative, Optimizer, abs, minimum, maximum, sqrt, where


FLOOR = 0.005
"""Where the probe begins, in units of the scale: so small a step cannot hurt."""
UNKNOWN_SCALE = 0.05
"""The unit of rate where every weight starts at zero."""


class Accelerando(Optimizer):
    r"""AdamW that finds its own rate: it climbs while gradients agree, falls back, rises slowly, settles to zero.

    Source: this library, ``docs/guide/self-raising.md``, which also says where it fails. The signal is the
    normalised hypergradient (Almeida et al. 1998; Baydin et al. 2018, arXiv:1703.04782), here called
    agreement, :math:`a = Σ g u / Σ |g u|`, summed over all parameters, between a new gradient g and the
    direction u before it. Linear decay to zero: Defazio et al. (2023), arXiv:2310.07831.

    Update: AdamW's, at the rate ``min(10^(t-1) lr, rate · scale)``; ``rate`` is a share of the weights' initial size:

    - *probe*: ×1.2 or less a step, while the recent mean of a is above zero, from 0.005 up to 0.4;
    - *rise*: for a quarter of the run, linear from a tenth of where the probe stopped to 1.5 of it (at most 0.4);
    - *settle*: linear to zero over what is left.

    Args:
        params: tensors, groups, or named tensors.
        lr: the first step's rate, in parameter units per step: a starting point. It is left behind tenfold a
            step; 0 holds a group still.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε ≥ 0, in gradient units.
        weight_decay: λ ≥ 0, decoupled; each step shrinks weights by the factor 1 - rate · λ.
        total_steps: the steps of the whole run, > 0; the rate is zero from there on. None: the rise lasts
            twice as long as the probe (40 steps at least), and then the rate falls as
            :math:`\sqrt{3r/(2r + t)}`, r being the step at which the rise ended, until `cooldown` is called.
        scale: the group's unit of rate, > 0. None: the root mean square of the non-zero initial weights of its
            tensors with two axes or more; without any, that of the whole optimizer's, else of its vectors, else 0.05.


    State: ``step``, ``exp_avg``, ``exp_avg_sq`` as `Adam`; in each group, equal in all, the memory of the
    decision: ``age``, ``rate``, ``agreement``, ``trend``, ``best``, ``flips``, ``span``, ``against``,
    ``crossed``, ``risen``, ``goal``.

    Raises:
        HyperparameterError: a setting is unknown or out of range.
        UnsupportedTensorError: a parameter is complex, or it or its gradient sparse or not floating point.

    Example:
        >>> import torch
        >>> p = torch.nn.Parameter(torch.tensor([[3.0, -4.0]]))
        >>> optimizer = Accelerando([p], total_steps=200)
        >>> for _ in range(200):
        ...     optimizer.zero_grad()
        ...     p.square().sum().backward()
        ...     optimizer.step()
        >>> bool(p.detach().abs().max() < 0.01)
        True
    """

    lr: NonNegative = 1e-6
    betas: Betas = (0.9, 0.99)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2
    total_steps: Cap = None
    scale: Cap = None

    buffers: ClassVar = ("exp_avg", "exp_avg_sq")
    sums: ClassVar = {"net": "all", "gross": "all"}
    when: ClassVar = "next"
    memory: ClassVar = {
        "age": 0.0, "rate": FLOOR, "agreement": 0.0, "trend": 0.0, "best": 1e-3, "flips": 0.0, "fall": 0.0,
        "top": 0.0, "crossed": 0.0, "risen": 0.0, "goal": 0.0,
    }  # fmt: skip

    @staticmethod
    def scalars(t, lr, beta1, beta2, weight_decay, rate, scale):
        rest1 = 1 - beta1
        rest2 = 1 - beta2
        unbias2 = 1 / (1 - beta2**t)
        used = minimum(lr * 10 ** minimum(t - 1, 30), rate * scale)
        pace = used / (1 - beta1**t)
        shrink = 1 - used * weight_decay
        return rest1, rest2, unbias2, pace, shrink

    @staticmethod
    def direction(g, exp_avg, exp_avg_sq, beta1, rest1, beta2, rest2, unbias2, eps):
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        inverse = 1 / maximum(sqrt(exp_avg_sq * unbias2) + eps, 1e-19)
        net = (g * inverse) * (exp_avg * inverse)  # with the momentum before this gradient joins it
        gross = abs(net)
        exp_avg = beta1 * exp_avg + rest1 * g
        return exp_avg * inverse, exp_avg, exp_avg_sq, net, gross

    @staticmethod
    def apply(p, u, pace, shrink):
        return p * shrink - pace * u

    @staticmethod
    def decide(
        net, gross, age, rate, agreement, trend, best, flips, fall, top, crossed, risen, goal, total_steps
    ):  # fmt: skip
        age = age + 1
        # how much do gradients agree, and how much do single readings of it flip?
        heard = gross > 0
        fresh = where(heard, net / gross, agreement)
        turn = (fresh - agreement) ** 2 / 2
        flips = where(age > 2, flips + maximum(1 / (age - 2), 0.05) * (turn - flips), 0)
        need = where(age > 6, maximum(1, 2 * flips / best), 1)
        slow = sqrt(need)
        recent = maximum(1 / maximum(age - 1, 1), 1 / (5 * slow))
        trend = where(heard, trend + recent * (fresh - trend), trend)
        best = where(age > 5, maximum(best, trend), best)
        agreement = fresh
        # probe: climb while they agree; the top of agreement's sum is where they ceased to
        probing = crossed <= 0
        fall = where(heard, maximum(0, fall - fresh), fall)
        top = where(probing & (fall <= 0), rate, top)
        faster = minimum(0.4, rate * 1.1 ** (minimum(1, trend / best) / slow))
        rate = where(probing & heard & (trend > 0), faster, rate)
        ended = ((fall > need) & (age > 6)) | (rate >= 0.4) | (age > 0.4 * total_steps)
        stop = probing & heard & ended
        crossed = where(stop, age, crossed)
        goal = where(stop, minimum(0.4, 2 * top), goal)
        timed = 1 / total_steps > 0
        risen = where(stop, age + where(timed, 0.25 * total_steps, maximum(40, 2 * age)), risen)
        # rise, then settle: by the clock alone
        up = goal * (age - crossed) / (risen - crossed)
        down = goal * maximum(0, total_steps - age) / maximum(total_steps - risen, 1e-9)
        slower = goal * sqrt(3 * risen / (2 * risen + age))
        planned = where(age < risen, up, where(timed, down, slower))
        rate = where(crossed > 0, planned, rate)
        return age, rate, agreement, trend, best, flips, fall, top, crossed, risen, goal

    def __init__(self, params: Any, lr: Any = None, **options: Any) -> None:
        super().__init__(params, lr, **options)
        for group in self.param_groups:
            self._measure(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its ``scale`` is measured now, and it joins the run where the others are."""
        super().add_param_group(param_group)
        first, *_, group = self.param_groups[0], self.param_groups[-1]
        group.update({name: first[name] for name in self.memory})
        if first["age"]:
            self._measure(group)

    def _measure(self, group: dict[str, Any]) -> None:
        """Fill a group's ``scale`` from its own matrices, else everybody's, else everybody's vectors."""
        if group["scale"] is not None:
            return
        everything = [p for g in self.param_groups for p in g["params"]]
        places = ([p for p in group["params"] if p.ndim > 1], [p for p in everything if p.ndim > 1], everything)
        group["scale"] = next((r for r in map(_middle, places) if r > 0), UNKNOWN_SCALE)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; a step skipped for a gradient that is not finite halves the rate."""
        group = self.param_groups[0]
        age, used, movement = group["age"], self._rate(group), _movement(group)
        loss = super().step(closure)
        if group["age"] > age:
            self.trace().add(Turn(int(age) + 1, movement, used, group["agreement"]))
        elif any(p.grad is not None for g in self.param_groups for p in g["params"]):
            for g in self.param_groups:
                g["rate"], g["goal"] = g["rate"] / 2, g["goal"] / 2
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # the engine's step runs the hooks

    @staticmethod
    def _rate(group: Mapping[str, Any]) -> float:
        """The absolute rate of a group's next step."""
        return float(min(group["lr"] * 10.0 ** min(group["age"], 30), group["rate"] * group["scale"]))

    def trace(self) -> Trace:
        """What each step did, as `Turn` s; kept on the object, thinned beyond 4,096, begun anew by a checkpoint.

        Example:
            >>> p = torch.nn.Parameter(torch.ones(2, 2))
            >>> optimizer = Accelerando([p], total_steps=10)
            >>> p.sum().backward()
            >>> optimizer.step()
            >>> optimizer.trace()[-1]
            Turn(step=1, movement='probe', rate=1e-06, agreement=0.0)
        """
        if "_trace" not in self.__dict__:
            self._trace = Trace()
        return self._trace

    def found_lr(self, group: int = 0) -> float | None:
        """The rate that a group rises to, in parameter units per step; None while the probe is under way."""
        g = self.param_groups[group]
        return float(g["goal"] * g["scale"]) if g["crossed"] else None


def _movement(group: Mapping[str, Any]) -> str:
    if not group["crossed"]:
        return "probe"
    return "rise" if group["age"] < group["risen"] else "settle"


def _middle(tensors: list[torch.Tensor]) -> float:
    """The middle one of the tensors' root mean squares, over entries that are not zero; 0 where there is none."""
    found = sorted(r for r in map(_root_mean_square, tensors) if r > 0)
    return found[(len(found) - 1) // 2] if found else 0.0


def _root_mean_square(p: torch.Tensor) -> float:
    count = int(torch.count_nonzero(p))
    return float(torch.linalg.vector_norm(p.detach(), dtype=torch.float64)) / math.sqrt(count) if count else 0.0

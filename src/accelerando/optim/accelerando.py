"""Accelerando: Adam's direction at a rate that the method raises and settles by itself."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from accelerando.errors import HyperparameterError
from accelerando.optim.adamw import AdamW
from accelerando.optim.outlook import Outlook
from accelerando.optim.trace import Trace, Turn
from accelerando.rule import (
    Averaging,
    Betas,
    Cap,
    Choice,
    NonNegative,
    Optimizer,
    abs,
    maximum,
    minimum,
    sqrt,
    where,
)

FLOOR = 0.005
"""Where the probe begins, in units of the scale: so small a step cannot hurt."""
UNKNOWN_SCALE = 0.05
"""The unit of rate where every weight starts at zero."""


class Accelerando(Averaging, Optimizer):
    r"""AdamW that finds its own rate: it climbs while gradients agree, falls back, rises slowly, settles to zero.

    Source: this library, ``docs/guide/self-raising.md``, which also says where it fails. The signal is the
    normalised hypergradient (Almeida et al. 1998; Baydin et al. 2018, arXiv:1703.04782), here called
    agreement, :math:`a = Σ g m/v / Σ |g m/v|`, summed over all parameters, between a new gradient g and the momentum
    m before it, each coordinate in its own units. Linear decay to zero: Defazio et al. (2023), arXiv:2310.07831.

    Update: AdamW's, at the rate :math:`\min(10^{t-1} lr, ρ s)`, s being the weights' initial size;
    ρ moves in three ways:

    - *probe*: from 0.005, ×1.1 or less a step while the recent mean of a is above zero, until the sum of a has fallen
      clearly below its top;
    - *rise*: for a quarter of the run, linear from zero to twice the ρ of that top, at most 0.3;
    - *settle*: linear to zero over what is left.

    Where the end is not known, an average of the weights takes the place of settling to zero:
    :math:`\bar θ ← \bar θ + \frac{9}{k+8}(θ - \bar θ)` at the k-th step since the probe (Shamir and Zhang 2013,
    arXiv:1212.1824). As with `ScheduleFreeAdamW`, call ``optimizer.eval()`` before the model is evaluated or
    shipped, and ``optimizer.train()`` before it goes on; where no average is kept, both do nothing.

    Args:
        params: tensors, groups, or named tensors.
        lr: the first step's rate, in parameter units per step: a starting point. It is left behind tenfold a
            step; 0 holds a group still.
        betas: the decays β₁, β₂ in [0, 1).
        eps: ε ≥ 0, in gradient units.
        weight_decay: λ ≥ 0, decoupled; a step shrinks weights by the factor 1 - ρλ. AdamW's value times the
            weights' size s is the same decay.
        total_steps: the steps of the whole run, > 0; the rate is zero from there on. None: the rise lasts
            twice as long as the probe (40 steps at least), and then the rate falls as
            :math:`\sqrt{3r/(2r + t)}`, r being the step at which the rise ended, until `cooldown` is called.
        averaging: whether the average is kept, the same in all groups. None: where ``total_steps`` is None.
        scale: the group's unit of rate s, > 0. None: the root mean square of a matrix's non-zero initial entries,
            the middle one of the group's matrices; without any, of everybody's matrices, else tensors, else 0.05.

    Under ``on_nonfinite="skip"`` a skipped step also halves the rate.

    State: ``step``, ``exp_avg``, ``exp_avg_sq`` as `Adam`; with ``averaging``, ``average``, which starts as the
    parameter, and after ``eval()`` ``in_training``, the weights of training. In each group ``train_mode``, and,
    equal in all, the memory of the decision: ``age``, ``rate`` (ρ), ``agreement`` (a), ``trend``, ``best``,
    ``flips``, ``fall``, ``top``, ``crossed``, ``risen``, ``goal``.

    Raises:
        HyperparameterError: a setting is unknown or out of range, or groups differ in ``averaging``.
        StateError: `step` after ``eval()`` where an average is kept.
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
    eps: NonNegative = 0.0
    weight_decay: NonNegative = 1e-3
    total_steps: Cap = None
    scale: Cap = None
    averaging: Choice = None

    averages: ClassVar = "average"
    absent: ClassVar = {"averaging": False}
    buffers: ClassVar = ("exp_avg", "exp_avg_sq")
    sums: ClassVar = {"net": "all", "gross": "all"}
    when: ClassVar[Literal["now", "next"]] = "next"
    memory: ClassVar = {
        "age": 0.0, "rate": FLOOR, "agreement": 0.0, "trend": 0.0, "best": 1e-3, "flips": 0.0, "fall": 0.0,
        "top": 0.0, "crossed": 0.0, "risen": 0.0, "goal": 0.0,
    }  # fmt: skip

    @staticmethod
    def scalars(t, lr, beta1, beta2, weight_decay, rate, scale, age, crossed):
        rest1 = 1 - beta1
        rest2 = 1 - beta2
        unbias2 = 1 / (1 - beta2**t)
        used = minimum(lr * 10 ** minimum(t - 1, 30), rate * scale)
        pace = used / (1 - beta1**t)
        shrink = 1 - used / scale * weight_decay
        share = where(crossed > 0, 9 / (age + 1 - crossed + 8), 1)
        stay = 1 - share
        return rest1, rest2, unbias2, pace, shrink, share, stay

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
    def direction_averaging(
        p, g, exp_avg, exp_avg_sq, average, beta1, rest1, beta2, rest2, unbias2, eps, pace, shrink, share, stay
    ):  # fmt: skip
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * (g * g)
        inverse = 1 / maximum(sqrt(exp_avg_sq * unbias2) + eps, 1e-19)
        net = (g * inverse) * (exp_avg * inverse)
        gross = abs(net)
        exp_avg = beta1 * exp_avg + rest1 * g
        u = exp_avg * inverse
        average = stay * average + share * (p * shrink - pace * u)
        return u, exp_avg, exp_avg_sq, average, net, gross

    variants: ClassVar = {
        "averaging": {
            "buffers": {"exp_avg": "zeros", "exp_avg_sq": "zeros", "average": "param"},
            "direction": direction_averaging,
        }
    }

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
        faster = minimum(0.3, rate * 1.1 ** (minimum(1, trend / best) / slow))
        rate = where(probing & heard & (trend > 0), faster, rate)
        ended = ((fall > need) & (age > 6)) | (rate >= 0.3) | (age > 0.4 * total_steps)
        stop = probing & heard & ended
        crossed = where(stop, age, crossed)
        goal = where(stop, minimum(0.3, 2 * top), goal)
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
        for group in self.__dict__.pop("_measured"):
            group["scale"] = None  # again, now that all groups are known
            self._take_unit(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its ``scale`` is measured now, and it joins the run where the others are."""
        super().add_param_group(param_group | {"averaging": self._whether_to_average(param_group)})
        group = self.param_groups[-1]
        measured = self.__dict__.setdefault("_measured", [])
        if group["scale"] is None:
            measured.append(group)
            self._take_unit(group)

    def _whether_to_average(self, group: Mapping[str, Any]) -> Any:
        """A new group's ``averaging``, which is that of the others; as given where that is no choice."""
        asked = group.get("averaging", self.defaults["averaging"])
        if asked is None:
            if self.param_groups:
                return self.param_groups[0]["averaging"]
            return group.get("total_steps", self.defaults["total_steps"]) is None
        if self.param_groups and isinstance(asked, bool) and asked != self.param_groups[0]["averaging"]:
            raise HyperparameterError(
                f"Accelerando: averaging must be the same in all groups, got {asked} (group {len(self.param_groups)}) "
                f"beside {not asked}; give it to the constructor"
            )
        return asked

    def _take_unit(self, group: dict[str, Any]) -> None:
        """Fill a group's ``scale`` from its own matrices, else everybody's, else everybody's vectors."""
        if group["scale"] is not None:
            return
        everything = [p for g in self.param_groups for p in g["params"]]
        places = (
            [p for p in group["params"] if p.ndim > 1],
            [p for p in everything if p.ndim > 1],
            everything,
        )
        group["scale"] = next((r for r in map(_middle, places) if r > 0), UNKNOWN_SCALE)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; a step that the engine skipped for a gradient that is not finite halves the rate."""
        group = self.param_groups[0]
        if torch.is_tensor(group["age"]):  # decided on a device, for which the host does not wait
            return super().step(closure)
        age, before = group["age"], self._turn()
        loss = super().step(closure)
        if torch.is_tensor(group["age"]):
            return loss
        if group["age"] > age:
            self._kept().add(Turn(*before[:3], group["agreement"]))
        elif group["on_nonfinite"] == "skip" and any(
            _spoilt(p.grad) for g in self.param_groups for p in g["params"]
        ):
            for g in self.param_groups:
                g["rate"], g["goal"] = g["rate"] / 2, g["goal"] / 2
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # the engine's step runs the hooks

    def _turn(self) -> Turn:
        """The first group's next step, with the last agreement."""
        group = self.param_groups[0]
        age = float(group["age"])
        used = min(float(group["lr"]) * 10.0 ** min(age, 30), float(group["rate"]) * group["scale"])
        return Turn(int(age) + 1, self._outlook(group).movement(age), used, float(group["agreement"]))

    @staticmethod
    def _outlook(group: Mapping[str, Any]) -> Outlook:
        return Outlook(
            float(group["goal"]), float(group["crossed"]), float(group["risen"]), group["total_steps"]
        )

    def _kept(self) -> Trace:
        if "_trace" not in self.__dict__:
            self._trace = Trace()
        return self._trace

    def trace(self) -> Trace:
        """What each step did, as `Turn` s; kept on the object, thinned beyond 4,096, begun anew by a checkpoint.

        Where steps are decided on a device, for which the host does not wait, each call adds the step that comes next.

        Example:
            >>> p = torch.nn.Parameter(torch.ones(2, 2))
            >>> optimizer = Accelerando([p], total_steps=10)
            >>> p.sum().backward()
            >>> optimizer.step()
            >>> optimizer.trace()[-1]
            Turn(step=1, movement='probe', rate=1e-06, agreement=0.0)
        """
        kept = self._kept()
        if torch.is_tensor(self.param_groups[0]["age"]):
            kept.add(self._turn())
        return kept

    def found_lr(self, group: int = 0) -> float | None:
        """The rate that a group rises to, in parameter units per step; None while the probe is under way."""
        g = self.param_groups[group]
        return float(g["goal"]) * g["scale"] if g["crossed"] else None

    def cooldown(self, steps: int) -> None:
        """From the present rate linear to zero in ``steps`` steps, whatever was under way.

        At its end the weights of training are the ones to evaluate: the average, if there is one, is dropped now, and
        ``train()`` and ``eval()`` do nothing from here on.

        Raises:
            HyperparameterError: ``steps`` is less than 1, or no step was made yet.
        """
        if not steps >= 1:
            raise HyperparameterError(f"Accelerando.cooldown: steps must be in [1, inf), got {steps!r}")
        if not self.param_groups[0]["age"]:
            raise HyperparameterError(
                "Accelerando.cooldown: no step was made, so there is no rate to cool; step first"
            )
        for g in self.param_groups:
            now = float(g["age"])
            g.update(goal=float(g["rate"]), crossed=now, risen=now, total_steps=now + steps)
        self._stop_averaging()

    def _stop_averaging(self) -> None:
        self.train()
        for g in self.param_groups:
            g["averaging"] = False
            for p in g["params"]:
                self.state.get(p, {}).pop(self.averages, None)
        self._plan = None

    def to_adamw(
        self, kind: type[torch.optim.Optimizer] = AdamW, **options: Any
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """AdamW with this state, and a scheduler that goes on as this method would; then drop this one.

        A probe under way ends here: the rise begins at the next step. An average is left behind.

        Args:
            kind: `AdamW`, or ``torch.optim.AdamW``; it takes over the buffers themselves.
            options: more for its constructor, such as ``fused``.

        Example:
            >>> p = torch.nn.Parameter(torch.ones(2, 2))
            >>> optimizer = Accelerando([p], total_steps=10)
            >>> for _ in range(5):
            ...     p.grad = torch.ones(2, 2)
            ...     optimizer.step()
            >>> adamw, scheduler = optimizer.to_adamw(torch.optim.AdamW)
            >>> float(adamw.state[p]["step"])
            5.0
        """
        self._stop_averaging()
        outlooks = [
            self._outlook(g).ended(float(g["age"]), float(g["top"] or g["rate"])) for g in self.param_groups
        ]
        made = kind(
            [
                {
                    "params": g["params"], "lr": o.goal * g["scale"], "betas": g["betas"], "eps": g["eps"],
                    "weight_decay": g["weight_decay"] / g["scale"], "maximize": g["maximize"],
                }
                for g, o in zip(self.param_groups, outlooks, strict=True)
            ],
            **options,
        )  # fmt: skip
        for p, kept in self.state.items():
            made.state[p] = dict(kept) | {"step": kept["step"].clone()}
        factors: list[Callable[[int], float]] = [
            partial(o.share, int(g["age"])) for g, o in zip(self.param_groups, outlooks, strict=True)
        ]
        return made, torch.optim.lr_scheduler.LambdaLR(made, factors)


def _spoilt(g: torch.Tensor | None) -> bool:
    return g is not None and not bool(torch.isfinite(g).all())


def _middle(tensors: list[torch.Tensor]) -> float:
    """The middle one of the tensors' root mean squares, over entries that are not zero; 0 where there is none."""
    found = sorted(r for r in map(_root_mean_square, tensors) if r > 0)
    return found[(len(found) - 1) // 2] if found else 0.0


def _root_mean_square(p: torch.Tensor) -> float:
    p = p.detach()
    count = _number((p != 0).sum())
    return _number(torch.linalg.vector_norm(p, dtype=torch.float64)) / math.sqrt(count) if count else 0.0


def _number(x: Any) -> float:
    """The value of one element, over all shards."""
    return float(x.full_tensor() if hasattr(x, "full_tensor") else x)

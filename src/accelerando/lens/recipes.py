"""How known methods turn a gradient into a step, read from their state after it.

A recipe names the intermediate vectors of a method, in order, each with the cause that led to it, and the
scalars it multiplied the last one with. What it does not know is left to the remainder: it never guesses.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from accelerando.lens.sums import local

CAUSES = (
    "schedule",
    "bias correction",
    "second moment",
    "rectification",
    "trust ratio",
    "distance",
    "agreement",
    "clipping",
    "decay",
    "method",
)
"""What can raise or lower log(gain). "schedule" is the nominal rate's, "method" the remainder."""


@dataclass(frozen=True)
class Stepped:
    """One parameter, just after its step.

    Attributes:
        name: the optimizer's class.
        group: its options as the step found them.
        after: its options now.
        state: its state now.
        g: this rank's share of the gradient the step used.
        p: makes this rank's share of the weights the step found.
    """

    name: str
    group: Mapping[str, Any]
    after: Mapping[str, Any]
    state: Mapping[str, Any]
    g: torch.Tensor
    p: Callable[[], torch.Tensor]

    def get(self, option: str, otherwise: Any = 0.0) -> Any:
        """An option of the group, ``otherwise`` if it has none."""
        value = self.group.get(option)
        return otherwise if value is None else value

    def buffer(self, *names: str) -> torch.Tensor | None:
        """The first of these state tensors that there is and that has this share's shape."""
        for name in names:
            value = self.state.get(name)
            if isinstance(value, torch.Tensor) and local(value).shape == self.g.shape:
                return local(value)
        return None

    @property
    def t(self) -> int:
        """How many steps this parameter has made, this one included."""
        for place, key in ((self.state, "step"), (self.after, "step"), (self.after, "k")):
            if isinstance(place.get(key), int | float | torch.Tensor):
                return int(place[key])
        return 0


@dataclass(frozen=True)
class Way:
    """From a gradient to a direction.

    Attributes:
        stages: (cause, vector) in order; the step is the last vector times the scalars.
        scalars: cause → factor, all above zero. The nominal rate is not among them.
        trusts: whether what is left, if the direction is right, is a layer's trust ratio.
        whole: whether stages and scalars are all there is, so that a remainder is a surprise.
        rates: lr/(√v̂ + ε), where the method has such a thing.
    """

    stages: tuple[tuple[str, torch.Tensor], ...]
    scalars: Mapping[str, float] = field(default_factory=dict)
    trusts: bool = False
    whole: bool = True
    rates: torch.Tensor | None = None


UNKNOWN = Way((), whole=False)


def way_of(s: Stepped) -> Way:
    """The recipe that fits a parameter's state, `UNKNOWN` if none does."""
    if s.name in ("SGD", "SGDW"):
        return _sgd(s)
    if "z" in s.state and "exp_avg_sq" in s.state:
        return _schedule_free(s)
    if s.name == "RMSprop":
        return _rmsprop(s)
    if s.name == "Adagrad":
        return _adagrad(s)
    if "exp_avg" in s.state and "betas" in s.group:
        return _adam(s)
    return UNKNOWN


def _decayed(s: Stepped) -> tuple[tuple[tuple[str, torch.Tensor], ...], torch.Tensor]:
    """The gradient with decay added, where decay acts through the gradient."""
    decay = float(s.get("weight_decay"))
    if not decay or s.get("decoupled"):
        return (), s.g
    g = s.g + decay * s.p()
    return (("decay", g),), g


def _sgd(s: Stepped) -> Way:
    stages, g = _decayed(s)
    momentum = float(s.get("momentum"))
    buffer = s.buffer("momentum_buffer")
    if momentum and buffer is None:
        return UNKNOWN
    if buffer is not None and momentum:
        stages += (("agreement", g + momentum * buffer if s.get("nesterov", False) else buffer),)
    return Way(stages)


def _rmsprop(s: Stepped) -> Way:
    stages, g = _decayed(s)
    v = s.buffer("square_avg")
    if v is None:
        return UNKNOWN
    mean = s.buffer("grad_avg")
    if mean is not None and s.get("centered", False):
        v = v - mean * mean
    rates = 1 / (v.sqrt() + float(s.get("eps")))
    stages += (("second moment", g * rates),)
    buffer = s.buffer("momentum_buffer")
    if buffer is not None and s.get("momentum"):
        stages += (("agreement", buffer),)
    return Way(stages, rates=rates)


def _adagrad(s: Stepped) -> Way:
    stages, g = _decayed(s)
    v = s.buffer("sum")
    if v is None:
        return UNKNOWN
    rates = 1 / (v.sqrt() + float(s.get("eps")))
    slowed = 1 / (1 + (s.t - 1) * float(s.get("lr_decay")))
    return Way((*stages, ("second moment", g * rates)), {"schedule": slowed}, rates=rates)


def _schedule_free(s: Stepped) -> Way:
    v = s.buffer("exp_avg_sq")
    if v is None or not s.t:
        return UNKNOWN
    beta2 = float(s.get("betas")[1])
    rates = 1 / ((v / (1 - beta2**s.t)).sqrt() + float(s.get("eps")))
    asked, warm = float(s.get("lr")), float(s.get("warmup_steps"))
    used = float(s.after.get("scheduled_lr", asked * min(1.0, s.t / warm) if warm else asked))
    scalars = {"schedule": used / asked} if asked and used else {}
    return Way((("second moment", s.g * rates),), scalars, whole=False, rates=rates)


def _adam(s: Stepped) -> Way:
    """Adam and what descends from it: moments, then whatever scalars the class is known to add."""
    first = s.buffer("exp_avg")
    t = s.t
    if first is None or not t or len(s.get("betas")) < 2:
        return UNKNOWN
    beta1, beta2 = (float(b) for b in s.get("betas")[:2])
    bias1, bias2 = 1 - beta1**t, 1 - beta2**t
    rectified = _rectification(s, t, beta2, bias2)
    lamb = "lamb" in s.name.lower()
    stages, _ = ((), None) if lamb else _decayed(s)
    scale = float(s.get("d", 1.0)) if _adapts_distance(s) else 1.0
    m = first / (bias1 * _first_scale(s))
    stages += (("agreement", m),)
    rates = None
    second = s.buffer("max_exp_avg_sq", "max_exp_avg_var") if s.get("amsgrad", False) else None
    second = second if second is not None else s.buffer("exp_avg_sq", "exp_avg_var", "exp_avg_s", "exp_inf")
    if second is not None and rectified is not None:
        rates = _rates(s, second, bias2, scale)
        stages += (("second moment", m * rates),)
    elif second is None:
        return Way(stages, whole=False)
    decay = float(s.get("weight_decay"))
    if lamb and decay and not s.get("decoupled"):
        stages += (("decay", stages[-1][1] + decay * s.p()),)
    scalars = _scalars(s, bias1, bias2, rectified)
    return Way(stages, scalars, trusts=lamb, whole=s.name in WHOLE, rates=rates)


WHOLE = frozenset({"Adam", "AdamW", "RAdam", "AdaBelief", "Adamax", "Prodigy", "DAdaptAdam"})
"""Adam-likes whose step is all in the recipe, so that a remainder means another rate than the group's."""


def _rates(s: Stepped, second: torch.Tensor, bias2: float, scale: float) -> torch.Tensor:
    """1/(√v̂ + ε), with ε where the class puts it, and d taken out of moments that carry it."""
    eps = float(s.get("eps", 1e-8))
    if s.name == "Adamax":
        return 1 / second
    if s.name == "Prodigy":
        second = second / (scale * scale)
    if s.name in ("RAdam", "Prodigy", "DAdaptAdam"):
        eps = eps / math.sqrt(bias2)
    return 1 / ((second / bias2).sqrt() + eps)


def _first_scale(s: Stepped) -> float:
    """What the first moment was multiplied with besides 1 − β1: Prodigy's has d, D-Adaptation's its rate."""
    if s.name == "Prodigy":
        return float(s.get("d", 1.0))
    if s.name == "DAdaptAdam":
        t, (beta1, beta2) = s.t, s.get("betas")
        corrected = math.sqrt(1 - beta2**t) / (1 - beta1**t) if s.get("use_bias_correction", False) else 1.0
        return float(s.get("d", 1.0)) * float(s.get("lr")) * corrected or 1.0
    return 1.0


def _adapts_distance(s: Stepped) -> bool:
    return s.name in ("Prodigy", "DAdaptAdam")


def _scalars(s: Stepped, bias1: float, bias2: float, rectified: float | None) -> dict[str, float]:
    scalars = {} if rectified in (None, 1.0) else {"rectification": float(rectified or 1.0)}
    if _adapts_distance(s):
        scalars["distance"] = float(s.get("d", 1.0))
        if not s.get("use_bias_correction", False):
            scalars["bias correction"] = bias1 / math.sqrt(bias2)
    elif s.group.get("bias_correction") is False:
        scalars["bias correction"] = bias1 / math.sqrt(bias2)
    ratio = s.state.get("trust_ratio")
    if isinstance(ratio, int | float | torch.Tensor) and float(ratio) > 0:
        scalars["trust ratio"] = float(ratio)
    return scalars


def _rectification(s: Stepped, t: int, beta2: float, bias2: float) -> float | None:
    """RAdam's r_t; 1 for the methods that do not rectify; None while RAdam does not divide by √v̂."""
    if "radam" not in s.name.lower() and not s.get("rectify", False):
        return 1.0
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / bias2
    if length <= 5:
        return None
    return math.sqrt(
        (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length),
    )

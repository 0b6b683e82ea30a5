"""How known methods turn a gradient into a step, read from their state after it.

A recipe names the intermediate vectors of a method, in order, each with the cause that led to it, and the
scalars it multiplied the last one with. What it does not know is left to the remainder: it never guesses.

A recipe is of one step, or of several at once: then options and ages, and so its numbers, may be arrays with a number
for each step. Where steps would take different branches there is no one recipe, which `Mixed` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from accelerando.lens.flat import flat
from accelerando.lens.formulas import Divided, Formula, Moments, Number, Rms, Sgd, Unknown

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
    "probe",
    "rise",
    "settle",
    "method",
)
"""What can raise or lower log(gain).

"schedule" is the nominal rate's, "method" the remainder; "probe", "rise" and "settle" are the movements in which
`accelerando.Accelerando` leaves the nominal rate behind.
"""


class Mixed(Exception):
    """Several steps have no recipe in common."""


def sure(condition: Any) -> bool:
    """A condition that holds for all steps or for none.

    Raises:
        Mixed: it holds for some.
    """
    if isinstance(condition, np.ndarray):
        if condition.any() != condition.all():
            raise Mixed
        return bool(condition.all())
    return bool(condition)


def numbered(value: Any) -> Any:
    """A number as a float; an array as it is."""
    return value if isinstance(value, np.ndarray) else float(value)


@dataclass(frozen=True, slots=True)
class Stepped:
    """One parameter, just after its step, or after each of several steps.

    Attributes:
        name: the optimizer's class.
        group: its options as the step found them.
        after: its options now.
        state: its state now.
        size: how many real numbers this rank holds of it.
        decoupled: whether decay was taken from the weights directly.
    """

    name: str
    group: Mapping[str, Any]
    after: Mapping[str, Any]
    state: Mapping[str, Any]
    size: int
    decoupled: bool

    def get(self, option: str, otherwise: Any = 0.0) -> Any:
        """An option of the group, ``otherwise`` if it has none."""
        value = self.group.get(option)
        return otherwise if value is None else value

    def number(self, option: str, otherwise: float = 0.0) -> Any:
        """The same as a number."""
        return numbered(self.get(option, otherwise))

    def buffer(self, *names: str) -> str | None:
        """The first of these names under which the state has a tensor of this share's size."""
        return next((name for name in names if self.read(name) is not None), None)

    def read(self, name: str) -> torch.Tensor | None:
        """A state tensor, flat; None if there is none of this share's size."""
        value = self.state.get(name)
        if not isinstance(value, torch.Tensor):
            return None
        share = flat(value)
        return share if share.numel() == self.size else None

    @property
    def decay(self) -> Any:
        """λ, where decay acts through the gradient."""
        return 0.0 if self.decoupled else self.number("weight_decay")

    @property
    def decays(self) -> bool:
        """Whether decay acts through the gradient."""
        return sure(self.decay != 0)

    @property
    def t(self) -> Any:
        """How many steps this parameter has made, this one included; 0 if that is not known."""
        for place, key in ((self.state, "step"), (self.after, "step"), (self.after, "k")):
            value = place.get(key)
            if isinstance(value, np.ndarray):
                return value
            if isinstance(value, int | float | torch.Tensor):
                return int(value)
        return 0


@dataclass(frozen=True, slots=True)
class Way:
    """From a gradient to a direction.

    Attributes:
        formula: makes the vectors; the step is the last one times the scalars.
        causes: of the vectors, in order.
        reads: the state tensors that the formula reads.
        scalars: cause → factor, all above zero. The nominal rate is not among them.
        trusts: whether what is left, if the direction is right, is a layer's trust ratio.
        whole: whether vectors and scalars are all there is, so that a remainder is a surprise.
    """

    formula: Formula
    causes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    scalars: Mapping[str, Number] = field(default_factory=dict)
    trusts: bool = False
    whole: bool = True


UNKNOWN = Way(Unknown(), (), whole=False)


class Ways:
    """The recipes of one step; parameters of the same age and group, with alike states, share one."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Way] = {}

    def of(self, s: Stepped, group: int) -> tuple[Way, tuple[torch.Tensor, ...]]:
        """The recipe that fits a parameter's state, and the buffers it reads, flat."""
        if "trust_ratio" in s.state:
            way = way_of(s)
            return way, _read(s, way)
        key = (group, s.t, *s.state)
        way = self._known.get(key) or self._known.setdefault(key, way_of(s))
        try:
            return way, _read(s, way)
        except KeyError:  # its buffers are of other sizes
            way = way_of(s)
            return way, _read(s, way)


def _read(s: Stepped, way: Way) -> tuple[torch.Tensor, ...]:
    buffers = []
    for name in way.reads:
        buffer = s.read(name)
        if buffer is None:
            raise KeyError(name)
        buffers.append(buffer)
    return tuple(buffers)


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


def _named(s: Stepped, *causes: str) -> tuple[str, ...]:
    return ("decay", *causes) if s.decays else causes


def _sgd(s: Stepped) -> Way:
    momentum = s.number("momentum")
    buffer, moves = s.buffer("momentum_buffer"), sure(momentum != 0)
    if moves and buffer is None:
        return UNKNOWN
    formula = Sgd(s.decay, momentum, bool(s.get("nesterov", False)))
    if buffer is None or not moves:
        return Way(formula, _named(s))
    return Way(formula, _named(s, "agreement"), (buffer,))


def _rmsprop(s: Stepped) -> Way:
    v = s.buffer("square_avg")
    if v is None:
        return UNKNOWN
    reads, causes = [v], ["second moment"]
    mean = s.buffer("grad_avg") if s.get("centered", False) else None
    momentum = s.buffer("momentum_buffer") if s.get("momentum") else None
    if mean is not None:
        reads.append(mean)
    if momentum is not None:
        reads.append(momentum)
        causes.append("agreement")
    formula = Rms(s.decay, s.number("eps"), mean is not None, momentum is not None)
    return Way(formula, _named(s, *causes), tuple(reads))


def _adagrad(s: Stepped) -> Way:
    v = s.buffer("sum")
    if v is None:
        return UNKNOWN
    slowed = 1 / (1 + (s.t - 1) * s.number("lr_decay"))
    formula = Divided(s.decay, 1.0, s.number("eps"))
    return Way(formula, _named(s, "second moment"), (v,), {"schedule": slowed})


def _schedule_free(s: Stepped) -> Way:
    v, t = s.buffer("exp_avg_sq"), s.t
    if v is None or sure(t == 0):
        return UNKNOWN
    beta2 = numbered(s.get("betas")[1])
    asked, warm = s.number("lr"), s.number("warmup_steps")
    warmed = asked * np.minimum(1.0, t / warm) if sure(warm != 0) else asked
    used = numbered(s.after.get("scheduled_lr", warmed))
    scalars = {"schedule": used / asked} if sure((asked != 0) & (used != 0)) else {}
    formula = Divided(0.0, 1 / (1 - beta2**t), s.number("eps"))
    return Way(formula, ("second moment",), (v,), scalars, whole=False)


def own_rate(group: Mapping[str, Any], t: Any) -> Any:
    """The rate of `accelerando.Accelerando`, in parameter units, from a group as its t-th step finds it.

    On a device the decision lives there; reading it here waits for it.
    """
    rate, scale, asked = (numbered(group[name]) for name in ("rate", "scale", "lr"))
    several = np.ndarray in (type(rate), type(scale), type(asked), type(t))
    least: Any = np.minimum if several else min
    return least(asked * 10.0 ** least(t - 1, 30), rate * scale)


def movement_of(group: Mapping[str, Any]) -> str:
    """Which of its three movements such a group is in."""
    if sure(numbered(group["crossed"]) <= 0):
        return "probe"
    return "rise" if sure(numbered(group["age"]) < numbered(group["risen"])) else "settle"


WHOLE = frozenset({"Accelerando", "Adam", "AdamW", "RAdam", "AdaBelief", "Adamax", "Prodigy", "DAdaptAdam"})
"""Adam-likes whose step is all in the recipe, so that a remainder means another rate than the group's."""


def _adam(s: Stepped) -> Way:
    """Adam and what descends from it: moments, then whatever scalars the class is known to add."""
    first, t = s.buffer("exp_avg"), s.t
    if first is None or sure(t == 0) or len(s.get("betas")) < 2:
        return UNKNOWN
    beta1, beta2 = (numbered(b) for b in s.get("betas")[:2])
    bias1, bias2 = 1 - beta1**t, 1 - beta2**t
    rectified = _rectification(s, t, beta2, bias2)
    lamb = "lamb" in s.name.lower()
    decay = 0.0 if lamb else s.decay
    m = 1 / (bias1 * _first_scale(s))
    causes: tuple[str, ...] = ("agreement",) if lamb else _named(s, "agreement")
    second = s.buffer("max_exp_avg_sq", "max_exp_avg_var") if s.get("amsgrad", False) else None
    second = second if second is not None else s.buffer("exp_avg_sq", "exp_avg_var", "exp_avg_s", "exp_inf")
    if second is None:
        return Way(Moments(decay, m, None, 0.0, False, 0.0), causes, (first,), whole=False)
    inside = s.decay if lamb else 0.0
    formula, reads = Moments(decay, m, None, 0.0, False, inside), [first]
    if rectified is not None:
        formula = _divided(s, decay, m, bias2, inside)
        reads.append(second)
        causes += ("second moment",)
    causes += ("decay",) if lamb and s.decays else ()
    scalars = _scalars(s, bias1, bias2, rectified)
    return Way(formula, causes, tuple(reads), scalars, trusts=lamb, whole=s.name in WHOLE)


def _divided(s: Stepped, decay: Number, m: Number, bias2: Number, inside: Number) -> Moments:
    """With ε where the class puts it, and d taken out of moments that carry it."""
    eps = s.number("eps", 1e-8)
    scale = s.number("d", 1.0) if s.name == "Prodigy" else 1.0
    if s.name in ("RAdam", "Prodigy", "DAdaptAdam"):
        eps = eps / np.sqrt(bias2)
    return Moments(decay, m, 1 / (bias2 * scale * scale), eps, s.name == "Adamax", inside)


def _first_scale(s: Stepped) -> Any:
    """What the first moment was multiplied with besides 1 − β1: Prodigy's has d, D-Adaptation's its rate."""
    if s.name == "Prodigy":
        return s.number("d", 1.0)
    if s.name == "DAdaptAdam":
        t, (beta1, beta2) = s.t, s.get("betas")
        corrected = np.sqrt(1 - beta2**t) / (1 - beta1**t) if s.get("use_bias_correction", False) else 1.0
        scale = s.number("d", 1.0) * s.number("lr") * corrected
        return 1.0 if sure(scale == 0) else scale
    return 1.0


def _scalars(s: Stepped, bias1: Number, bias2: Number, rectified: Number | None) -> dict[str, Number]:
    scalars: dict[str, Number] = {}
    if rectified is not None and not sure(rectified == 1.0):
        scalars["rectification"] = rectified
    if s.name in ("Prodigy", "DAdaptAdam"):
        scalars["distance"] = s.number("d", 1.0)
        if not s.get("use_bias_correction", False):
            scalars["bias correction"] = bias1 / np.sqrt(bias2)
    elif s.group.get("bias_correction") is False:
        scalars["bias correction"] = bias1 / np.sqrt(bias2)
    if s.name == "Accelerando":
        asked, used = s.number("lr"), own_rate(s.group, s.t)
        if sure((asked > 0) & (used > 0)):
            scalars[movement_of(s.group)] = used / asked
    ratio = s.state.get("trust_ratio")
    if isinstance(ratio, int | float | torch.Tensor | np.ndarray) and sure(numbered(ratio) > 0):
        scalars["trust ratio"] = numbered(ratio)
    return scalars


def _rectification(s: Stepped, t: Any, beta2: Number, bias2: Number) -> Number | None:
    """RAdam's r_t; 1 for the methods that do not rectify; None while RAdam does not divide by √v̂."""
    if "radam" not in s.name.lower() and not s.get("rectify", False):
        return 1.0
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / bias2
    if sure(length <= np.maximum(4.0, s.number("rectify_threshold", 5.0))):
        return None
    ratio: Number = np.sqrt(
        (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length),
    )
    return ratio

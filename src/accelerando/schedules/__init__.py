"""Schedules: pure functions from a step to a factor."""

from accelerando.schedules.base import Schedule, create, from_dict, from_json, names
from accelerando.schedules.combine import PerGroup, per_group
from accelerando.schedules.containers import ChainedScheduler, SequentialLR
from accelerando.schedules.cosine import Cosine as cosine
from accelerando.schedules.cosine import CosineRestarts as cosine_restarts
from accelerando.schedules.cycles import CyclicLR, OneCycleLR
from accelerando.schedules.cyclic import Cyclic as cyclic
from accelerando.schedules.cyclic import OneCycle as one_cycle
from accelerando.schedules.decays import (
    WSD,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from accelerando.schedules.plateau import ReduceLROnPlateau
from accelerando.schedules.progress import RaiseOnProgress
from accelerando.schedules.scheduled import ScheduledLR
from accelerando.schedules.shapes import Constant as constant
from accelerando.schedules.shapes import Exponential as exponential
from accelerando.schedules.shapes import InverseSqrt as inverse_sqrt
from accelerando.schedules.shapes import Linear as linear
from accelerando.schedules.shapes import MultiStep as multi_step
from accelerando.schedules.shapes import Polynomial as polynomial
from accelerando.schedules.shapes import Step as step
from accelerando.schedules.text import parse
from accelerando.schedules.timm import for_timm
from accelerando.schedules.warm import Cooldown as cooldown
from accelerando.schedules.warm import Warmup as warmup
from accelerando.schedules.warm import WarmupStableDecay as wsd

__all__ = [
    "WSD",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PerGroup",
    "PolynomialLR",
    "RaiseOnProgress",
    "ReduceLROnPlateau",
    "Schedule",
    "ScheduledLR",
    "SequentialLR",
    "StepLR",
    "constant",
    "cooldown",
    "cosine",
    "cosine_restarts",
    "create",
    "cyclic",
    "exponential",
    "for_timm",
    "from_dict",
    "from_json",
    "inverse_sqrt",
    "linear",
    "multi_step",
    "names",
    "one_cycle",
    "parse",
    "per_group",
    "polynomial",
    "step",
    "warmup",
    "wsd",
]

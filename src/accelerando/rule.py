"""What a third party imports to write a method."""

from torch import sqrt

from accelerando.engine.fields import Betas, Fraction, Interval, NonNegative, Positive
from accelerando.engine.optimizer import Optimizer

__all__ = ["Betas", "Fraction", "Interval", "NonNegative", "Optimizer", "Positive", "sqrt"]

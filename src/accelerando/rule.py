"""What a third party imports to write a method.

Example:
    A method is a class whose functions stay inside the rule grammar::

        class SignSGD(Optimizer):
            lr: NonNegative = 1e-3

            @staticmethod
            def direction(g):
                return sign(g)
"""

from torch import abs, exp, log, maximum, minimum, sqrt, where

from accelerando.engine.eager import sign
from accelerando.engine.fields import Betas, Cap, Fraction, Interval, NonNegative, Positive
from accelerando.engine.optimizer import Optimizer

__all__ = [
    "Betas", "Cap", "Fraction", "Interval", "NonNegative", "Optimizer", "Positive",
    "abs", "exp", "log", "maximum", "minimum", "sign", "sqrt", "where",
]  # fmt: skip

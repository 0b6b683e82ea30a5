"""What a third party imports to write a method.

Example:
    A method is a class whose functions stay inside the rule grammar::

        class SignSGD(Optimizer):
            lr: NonNegative = 1e-3

            @staticmethod
            def direction(g):
                return sign(g)
"""

from typing import Any

import torch

from accelerando.engine import eager
from accelerando.engine.averaging import Averaging
from accelerando.engine.fields import Betas, Cap, Choice, Fraction, Interval, NonNegative, Positive
from accelerando.engine.optimizer import Optimizer

# the operations of the grammar, on tensors; a rule's functions also run on numbers and compiled scalars
abs: Any = torch.abs
exp: Any = torch.exp
log: Any = torch.log
maximum: Any = torch.maximum
minimum: Any = torch.minimum
sign: Any = eager.sign
sqrt: Any = torch.sqrt
where: Any = torch.where

__all__ = [
    "Averaging", "Betas", "Cap", "Choice", "Fraction", "Interval", "NonNegative", "Optimizer", "Positive",
    "abs", "exp", "log", "maximum", "minimum", "sign", "sqrt", "where",
]  # fmt: skip

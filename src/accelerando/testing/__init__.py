"""The public battery: hold any `torch.optim.Optimizer` to its contract, its invariances and its paper.

Example:
    >>> import torch
    >>> from accelerando.testing import check_optimizer
    >>> print(check_optimizer(torch.optim.SGD, checks=["C03", "C28"]))
    SGD: 0 of 2 checks failed
      C03 ok   refuses misspelt options  refuses weight_decy=0.1 with TypeError
      C28 ok   lr = 0 moves nothing      nothing moves
"""

from accelerando.testing.battery import check_optimizer
from accelerando.testing.registry import CHECKS, Check
from accelerando.testing.report import Finding, Report, Status

__all__ = ["CHECKS", "Check", "Finding", "Report", "Status", "check_optimizer"]

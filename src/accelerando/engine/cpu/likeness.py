"""Whether tensors look as others did: kind, dtype, shape and strides.

Python asks one tensor at a time. Where this torch has the compiled guards that its compiler checks arguments with,
they say yes for all at once; where they say no, or are not there, Python finds out.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch

try:
    from torch._C._dynamo import guards
except ImportError:
    guards = None  # type: ignore[assignment]

TensorGuards: Any = getattr(guards, "TensorGuards", None)

_dtype, _contiguous, _numel = attrgetter("dtype"), torch.Tensor.is_contiguous, torch.Tensor.numel


class Likeness:
    """How ``tensors`` look.

    Example:
        >>> like = Likeness([torch.ones(2, 3)])
        >>> like.holds([torch.zeros(2, 3)]), like.holds([torch.zeros(3, 2).t()])
        (True, False)
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self.contiguous = [t.is_contiguous() for t in tensors]
        self.dtypes, self.sizes = [t.dtype for t in tensors], [t.numel() for t in tensors]
        self.dense = all(self.contiguous)
        self._guards = _guards(tensors)

    def holds(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether ``tensors``, as many, look the same; those that are not contiguous must have been seen already."""
        if self._guards is not None and self._guards.check(*tensors):
            return True
        return (
            list(map(_contiguous, tensors)) == self.contiguous
            and list(map(_numel, tensors)) == self.sizes
            and list(map(_dtype, tensors)) == self.dtypes
        )


def _guards(tensors: Sequence[torch.Tensor]) -> Any:
    if TensorGuards is None:
        return None
    try:
        sizes, strides = [list(t.size()) for t in tensors], [list(t.stride()) for t in tensors]
        return TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)
    except (RuntimeError, TypeError):
        return None

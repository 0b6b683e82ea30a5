"""All sums over a block of an Adam-like step in one compiled pass, where a model is large enough to be worth it.

Each number is read once, and products are summed in float64. Without Numba, and for other methods, precisions and
devices, `accelerando.lens.taking` makes the same sums one after another.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from accelerando.engine.cpu import modules
from accelerando.lens.flat import Block, Segment
from accelerando.lens.formulas import Formula, Moments

ENOUGH = 1 << 20
"""Elements of a model below which a kernel is not worth loading."""

COMPARED = ("gg", "pp", "decayed", "mm", "uu", "gd", "dd", "ud", "pulled")
"""Sums of a part: of the gradient g, the weights p from before, g + λp, the first moment m, u = m/(√v + ε), the
displacement d, and p/(√v + ε)."""

JUDGED = ("net", "gross")
"""Sums of a part: of gd, and of its absolute values."""

_HEAD = """import numpy as np
from numba import njit

from accelerando.engine.cpu.operations import *


"""


def _jit(*types: str) -> str:
    return f'@njit("void({", ".join(types)})", nogil=True, cache=True, error_model="numpy")\n'


_VECTOR, _PARTS, _SUMS = "float32[::1]", "int64[:,::1]", "float64[:,::1]"

_COMPARE = (
    _HEAD
    + _jit(*[_VECTOR] * 5, _PARTS, "float64", "float32", "float32", _SUMS)
    + '''def compare(p_, new_, g_, m_, v_, parts_, keep, decay, eps, sums_):
    """The sums of `COMPARED`, by part; the displacement takes the place of the weights from before."""
    for k_ in range(parts_.shape[0]):
        gg, pp, decayed, mm, uu, gd, dd, ud, pulled = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        low, n = parts_[k_, 0], parts_[k_, 1] - parts_[k_, 0]
        ps, news, gs, ms, vs = p_[low:], new_[low:], g_[low:], m_[low:], v_[low:]
        for i_ in range(n):
            p, g, m = ps[i_], gs[i_], ms[i_]
            inverse = np.float32(1.0) / (sqrt(vs[i_]) + eps)
            s, u, w = np.float64(g + decay * p), np.float64(m * inverse), np.float64(p * inverse)
            g, p, m = np.float64(g), np.float64(p), np.float64(m)
            d = np.float64(news[i_]) - keep * p
            ps[i_] = np.float32(d)
            gg = add_product(gg, g, g)
            pp = add_product(pp, p, p)
            decayed = add_product(decayed, s, s)
            mm = add_product(mm, m, m)
            uu = add_product(uu, u, u)
            gd = add_product(gd, g, d)
            dd = add_product(dd, d, d)
            ud = add_product(ud, u, d)
            pulled = add_product(pulled, w, w)
        sums_[k_, 0], sums_[k_, 1], sums_[k_, 2], sums_[k_, 3], sums_[k_, 4] = gg, pp, decayed, mm, uu
        sums_[k_, 5], sums_[k_, 6], sums_[k_, 7], sums_[k_, 8] = gd, dd, ud, pulled
'''
)

_JUDGE = (
    _HEAD
    + _jit(_VECTOR, _VECTOR, _PARTS, _SUMS)
    + '''def judge(g_, d_, parts_, sums_):
    """The sums of `JUDGED`, by part."""
    for k_ in range(parts_.shape[0]):
        net, gross = 0.0, 0.0
        low, n = parts_[k_, 0], parts_[k_, 1] - parts_[k_, 0]
        gs, ds = g_[low:], d_[low:]
        for i_ in range(n):
            product = np.float64(gs[i_]) * np.float64(ds[i_])
            net = add_up(net, product)
            gross = add_up(gross, abs(product))
        sums_[k_, 0], sums_[k_, 1] = net, gross
'''
)


@cache
def _kernel(name: str) -> Any:
    text = {"compare": _COMPARE, "judge": _JUDGE}[name]
    return getattr(modules.around_operations(f"lens_{name}", text), name)


def worth(elements: int) -> bool:
    """Whether a model of so many weights is gone through by kernels here."""
    return elements >= ENOUGH and modules.why_not() is None


def fits(formula: Formula, block: Block) -> bool:
    """Whether `compare` knows the formula, and a block's numbers."""
    return (
        isinstance(formula, Moments)
        and formula.second is not None
        and not formula.infinity
        and not formula.inside
        and fits_any(block)
    )


def fits_any(block: Block) -> bool:
    """Whether the kernels know a block's numbers."""
    return block.memory.is_cpu and block.memory.dtype == torch.float32


def compare(
    block: Block,
    formula: Moments,
    keep: float,
    now: torch.Tensor,
    g: torch.Tensor,
    m: torch.Tensor,
    v: torch.Tensor,
) -> list[dict[str, float]]:
    """The sums of each part of a block; its memory then has the displacement.

    Args:
        block: of the weights from before.
        formula: of the step.
        keep: what decoupled decay left of the weights.
        now: the weights now.
        g: the gradient.
        m: the first moment.
        v: the second.
    """
    sums = np.zeros((len(block.segments), len(COMPARED)))
    root = math.sqrt(formula.second or 1.0)
    arrays = [x.contiguous().numpy() for x in (now, g, m, v)]
    kept = float(np.float32(keep))  # weights in float32 shrink by a factor in float32
    numbers = (kept, np.float32(formula.decay), np.float32(formula.eps / root))
    _kernel("compare")(block.memory.numpy(), *arrays, _parts(block.segments), *numbers, sums)
    return [dict(zip(COMPARED, row, strict=True)) for row in sums.tolist()]


def judge(block: Block, g: torch.Tensor) -> list[tuple[float, float]]:
    """Σ gd and Σ|gd| of each part of a block that has the displacement."""
    sums = np.zeros((len(block.segments), len(JUDGED)))
    _kernel("judge")(g.contiguous().numpy(), block.memory.numpy(), _parts(block.segments), sums)
    return [(net, gross) for net, gross in sums.tolist()]


def _parts(segments: Sequence[Segment]) -> Any:
    return np.array([(part.low, part.high) for part in segments], dtype=np.int64)

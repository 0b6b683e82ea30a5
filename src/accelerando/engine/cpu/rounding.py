"""Stores that round by chance or keep what rounding loses, as `accelerando.engine.stores` has them.

Imported by generated kernels that need it; it imports Numba.
"""

import numpy as np

from accelerando.engine import hashing
from accelerando.engine.cpu.operations import _bits_of, _float_of, inline

FIRST, SECOND = hashing.FACTORS
GOLDEN = hashing.GOLDEN


@inline
def mix(x):
    """`hashing.mix` of a uint32."""
    x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) * np.uint32(FIRST))
    x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) * np.uint32(SECOND))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@inline
def draw(start, i, first):
    """What the draws of all arrays of element ``start + i`` have in common."""
    return mix(np.uint32(np.uint32(start + np.uint32(i)) ^ first))


@inline
def random16(drawn, second, slot):
    """16 bits for one array of the element."""
    key = np.uint32(second + np.uint32(np.uint32(slot) * np.uint32(GOLDEN)))
    return np.uint32(mix(np.uint32(drawn + key)) >> np.uint32(16))


@inline
def stochastic_bf16(x, random):
    """A neighbouring bfloat16, on average ``x``."""
    bits = np.uint32(_bits_of(np.float32(x)) + random)
    return np.uint16(0x7FC0) if x != x else np.uint16(bits >> np.uint32(16))


@inline
def stochastic_f16(x, random):
    """A neighbouring float16, on average ``x``."""
    bits = _bits_of(np.float32(x))
    size = np.uint32(bits & np.uint32(0x7FFFFFFF))
    normal = np.uint32(np.uint32(size + np.uint32(random >> np.uint32(3))) >> np.uint32(13)) - np.uint32(
        112 << 10
    )
    normal = np.uint32(min(normal, np.uint32(0x7C00)))
    below = size < np.uint32(0x38800000)
    small = np.int32((abs(np.float32(x)) if below else np.float32(0)) * np.float32(2.0**40))
    tiny = np.uint32(np.uint32(np.uint32(small) + random) >> np.uint32(16))
    made = np.uint32(
        (tiny if below else normal) | np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000))
    )
    return np.uint16(0x7E00) if x != x else np.uint16(made)


@inline
def join(upper, lower):
    """The float32 of which a bfloat16 and its remainder are the halves."""
    high = np.uint32(np.uint32(upper) << np.uint32(16))
    rest = np.uint32(np.int32(np.int16(lower)))
    undone = (np.uint32(upper & np.uint16(0x7FFF)) == 0) & (np.int16(lower) < 0)
    return _float_of(high if undone else np.uint32(high + rest))


@inline
def upper(x):
    """The nearest bfloat16, ties away from zero."""
    bits = _bits_of(np.float32(x))
    return np.uint16(0x7FC0) if x != x else np.uint16(np.uint32(bits + np.uint32(0x8000)) >> np.uint32(16))


@inline
def lower(x):
    """What `upper` leaves out."""
    return np.uint16(0) if x != x else np.uint16(_bits_of(np.float32(x)) & np.uint32(0xFFFF))

"""Stores that round by chance or keep what rounding loses, as `accelerando.engine.stores` has them.

Random bits are those of `accelerando.engine.hashing`, made of the count of steps on the device: nothing of them is
frozen into a launch, and a replayed graph draws anew. All arithmetic on bits is that of uint32, which wraps.
"""

import triton
import triton.language as tl

from accelerando.engine import hashing
from accelerando.engine.cuda.frame import age

FIRST, SECOND = (tl.constexpr(factor) for factor in hashing.FACTORS)
ONE, OTHER = (tl.constexpr(salt) for salt in hashing.SALTS)
GOLDEN = tl.constexpr(hashing.GOLDEN)
MASK = tl.constexpr(hashing.MASK)


@triton.jit
def mix(x):
    """`hashing.mix` of uint32."""
    x = (x ^ (x >> 16)) * tl.full((), FIRST, tl.uint32)
    x = (x ^ (x >> 15)) * tl.full((), SECOND, tl.uint32)
    return x ^ (x >> 16)


@triton.jit
def keys(record, place):
    """`hashing.keys` of a tensor, for the step it is about to make; ``place`` is where its seed stands."""
    seed = tl.load(place).to(tl.uint32)
    position = tl.load(place + 1).to(tl.uint32)
    step = age(record, True).to(tl.int64).to(tl.uint32)
    first = mix(mix(mix(seed ^ tl.full((), ONE, tl.uint32)) ^ position) ^ step)
    return first, mix(mix(mix(seed ^ tl.full((), OTHER, tl.uint32)) ^ position) ^ step)


@triton.jit
def draw(start, first, BLOCK: tl.constexpr):
    """What the draws of all arrays of the elements from ``start`` on have in common."""
    return mix((start + tl.arange(0, BLOCK).to(tl.uint32)) ^ first)


@triton.jit
def random16(drawn, second, slot: tl.constexpr):
    """16 bits for each element of one array."""
    return mix(drawn + (second + tl.full((), (slot * GOLDEN) & MASK, tl.uint32))) >> 16


@triton.jit
def by_chance(x, random, dtype: tl.constexpr):
    """The bits of a neighbour in a 16-bit dtype, on average ``x``."""
    x = x.to(tl.float32)
    bits = x.to(tl.uint32, bitcast=True)
    if dtype == tl.bfloat16:
        made = tl.where(x != x, 0x7FC0, (bits + random) >> 16)
    else:
        size = bits & 0x7FFFFFFF
        below = size < 0x38800000  # 2**-14, the smallest normal float16
        normal = tl.minimum(((size + (random >> 3)) >> 13) - 0x1C000, 0x7C00)
        small = (tl.where(below, tl.abs(x), 0.0) * 1099511627776.0).to(tl.int32).to(tl.uint32)
        made = tl.where(below, (small + random) >> 16, normal) | ((bits >> 16) & 0x8000)
        made = tl.where(x != x, 0x7E00, made)
    return made.to(tl.uint16)


@triton.jit
def halves(x):
    """The bits of the nearest bfloat16, ties away from zero, and the remainder that it leaves."""
    bits = tl.where(x != x, 0x7FC00000, x.to(tl.uint32, bitcast=True)).to(tl.uint32)
    return ((bits + 0x8000) >> 16).to(tl.uint16), bits.to(tl.uint16)


@triton.jit
def joined(address, remainder, left, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    """A block of the float32 numbers of which bfloat16 numbers and their remainders are the halves."""
    upper = bits_at(address, left, MASKED, BLOCK)
    lower = bits_at(remainder, left, MASKED, BLOCK)
    high = upper << 16
    undone = ((high << 1) == 0) & (lower > 0x7FFF)
    return tl.where(undone, high, high + lower - ((lower & 0x8000) << 1)).to(tl.float32, bitcast=True)


@triton.jit
def bits_at(address, left, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    """A block of 16-bit elements, as uint32."""
    lane = tl.arange(0, BLOCK)
    base = address.to(tl.pointer_type(tl.uint16))
    if MASKED:
        return tl.load(base + lane, mask=lane < left, other=0).to(tl.uint32)
    else:
        return tl.load(tl.multiple_of(base, 16) + lane).to(tl.uint32)


@triton.jit
def put_bits(address, bits, left, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    """Store a block of uint16."""
    lane = tl.arange(0, BLOCK)
    base = address.to(tl.pointer_type(tl.uint16))
    kept = tl.broadcast_to(bits, [BLOCK])
    if MASKED:
        tl.store(base + lane, kept, mask=lane < left)
    else:
        tl.store(tl.multiple_of(base, 16) + lane, kept)

"""What the grammar's operations mean in a kernel: IEEE division and roots, not-a-number that propagates.

Everything here works on float32 and float64, on single numbers and blocks. Under Triton's interpreter, which has no
library functions and cuts bfloat16 off instead of rounding it, two operations are spelled out.
"""

import triton
import triton.language as tl
from triton.language.extra import libdevice

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
def number(value: tl.constexpr, like: tl.constexpr):
    """A literal, in the dtype of what it meets."""
    return tl.full((), value, like)


@triton.jit
def met(x, like: tl.constexpr, BLOCK: tl.constexpr):
    """A single number as elements meet it: in their dtype."""
    if INTERPRETED:  # which takes a condition on a single number for a number
        return tl.broadcast_to(x.to(like), [BLOCK])
    else:
        return x.to(like)


@triton.jit
def div(a, b):
    """Division, rounded to nearest."""
    if a.dtype == tl.float64:
        return a / b
    else:
        return tl.div_rn(a, b)


@triton.jit
def sqrt(x):
    """The square root, rounded to nearest."""
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.sqrt_rn(x)


@triton.jit
def exp(x):
    """The exponential, to the last bits; `tl.exp` of float32 is an approximation."""
    if INTERPRETED:
        return tl.exp(x)
    else:
        return libdevice.exp(x)


@triton.jit
def log(x):
    """The natural logarithm, to the last bits."""
    if INTERPRETED:
        return tl.log(x)
    else:
        return libdevice.log(x)


@triton.jit
def power(a, b):
    """``a ** b`` within the reals."""
    if INTERPRETED:
        wide_a, wide_b = a.to(tl.float64), b.to(tl.float64)
        size = tl.exp(wide_b * tl.log(tl.abs(wide_a)))
        whole = tl.floor(wide_b) == wide_b
        odd = tl.floor(wide_b * 0.5) * 2 != wide_b
        signed = tl.where(whole, tl.where(odd, -size, size), (wide_a - wide_a) / (wide_a - wide_a))
        value = tl.where(wide_b == 0, 1.0, tl.where(wide_a < 0, signed, size))
        return value.to(a.dtype)
    else:
        return libdevice.pow(a, b)


@triton.jit
def abs(x):
    """The absolute value."""
    return tl.abs(x)


@triton.jit
def sign(x):
    """-1, 0, 1, or not a number."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, x)).to(x.dtype)


@triton.jit
def minimum(a, b):
    """The smaller number; not a number if either is not."""
    return tl.where(a < b, a, tl.where(a != a, a, b))


@triton.jit
def maximum(a, b):
    """The larger number; not a number if either is not."""
    return tl.where(a > b, a, tl.where(a != a, a, b))


@triton.jit
def where(condition, a, b):
    """``a`` where the condition holds, else ``b``."""
    return tl.where(condition, a, b)


@triton.jit
def fetch(address, left, MASKED: tl.constexpr, dtype: tl.constexpr, like: tl.constexpr, BLOCK: tl.constexpr):
    """A block of elements in the dtype that rules compute in; 16 bytes a thread and access where it is no tail."""
    lane = tl.arange(0, BLOCK)
    base = address.to(tl.pointer_type(dtype))
    if MASKED:
        x = tl.load(base + lane, mask=lane < left, other=0)
    else:
        x = tl.load(tl.multiple_of(base, 16) + lane)
    return x.to(like)


@triton.jit
def put(address, x, left, MASKED: tl.constexpr, dtype: tl.constexpr, BLOCK: tl.constexpr):
    """Store a block, rounded to nearest even."""
    lane = tl.arange(0, BLOCK)
    base = address.to(tl.pointer_type(dtype))
    kept = tl.broadcast_to(rounded(x, dtype), [BLOCK])
    if MASKED:
        tl.store(base + lane, kept, mask=lane < left)
    else:
        tl.store(tl.multiple_of(base, 16) + lane, kept)


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """``x`` in a storage dtype, rounded to nearest even."""
    if INTERPRETED and dtype == tl.bfloat16:
        bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
        up = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        quiet = (bits >> 16) | 0x40
        return tl.where(x != x, quiet, up).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return x.to(dtype)


@triton.jit
def folded(term, left, MASKED: tl.constexpr, BLOCK: tl.constexpr, THREADS: tl.constexpr):
    """A block of terms, added up within each thread; elements past the end count as zero."""
    term = tl.broadcast_to(term, [BLOCK])
    if MASKED:
        term = tl.where(tl.arange(0, BLOCK) < left, term, 0.0)
    return tl.sum(tl.reshape(term, [THREADS, BLOCK // THREADS]), axis=1).to(tl.float64)

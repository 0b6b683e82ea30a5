"""What compiled kernels call: the grammar's operations, and how numbers of each dtype lie in memory.

Imported by generated kernels only; it imports Numba.
"""

import math
import platform
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

inline = njit(inline="always", error_model="numpy")
X86 = platform.machine().lower() in ("x86_64", "amd64")
FLUSH = np.uint32(0x8040)
"""The bits of MXCSR by which subnormal numbers are read and written as zero."""


@inline
def div(a, b):
    """IEEE division."""
    return a / b


@inline
def power(a, b):
    """``a ** b`` within the reals."""
    return a**b


@inline
def where(condition, a, b):
    """``a`` where the condition holds, else ``b``."""
    return a if condition else b


@inline
def minimum(a, b):
    """The smaller number; not a number if either is not."""
    return a if (a < b) | (a != a) else b


@inline
def maximum(a, b):
    """The larger number; not a number if either is not."""
    return a if (a > b) | (a != a) else b


@inline
def sign(x):
    """-1, 0, 1, or not a number."""
    return x if (x != x) | (x == 0) else math.copysign(x - x + 1, x)


sqrt, exp, log = math.sqrt, math.exp, math.log


def _address_of(element: Any) -> Any:
    @intrinsic
    def at(context, address):
        def codegen(target, builder, signature, arguments):
            return builder.inttoptr(arguments[0], target.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), codegen

    return at


_f32_at, _f64_at, _u16_at = (_address_of(t) for t in (types.float32, types.float64, types.uint16))


@inline
def view_f32(address, n):
    """``n`` float32 numbers at an address."""
    return numba.carray(_f32_at(address), n)


@inline
def view_f64(address, n):
    """``n`` float64 numbers at an address."""
    return numba.carray(_f64_at(address), n)


@inline
def view_u16(address, n):
    """``n`` half-width numbers at an address, as bits."""
    return numba.carray(_u16_at(address), n)


@intrinsic
def _float_of(context, bits):
    return types.float32(types.uint32), lambda c, b, s, a: b.bitcast(a[0], ir.FloatType())


@intrinsic
def _bits_of(context, x):
    return types.uint32(types.float32), lambda c, b, s, a: b.bitcast(a[0], ir.IntType(32))


@inline
def widen_bf16(bits):
    """A bfloat16, exactly, as float32."""
    return _float_of(np.uint32(np.uint32(bits) << np.uint32(16)))


@inline
def narrow_bf16(x):
    """The nearest bfloat16, ties to even."""
    bits = _bits_of(np.float32(x))
    rounded = np.uint32(np.uint32(bits + np.uint32(0x7FFF)) + ((bits >> np.uint32(16)) & np.uint32(1)))
    return np.uint16(0x7FC0) if x != x else np.uint16(rounded >> np.uint32(16))


@intrinsic
def widen_f16(context, bits):
    """A float16, exactly, as float32."""

    def codegen(target, builder, signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), codegen


@intrinsic
def _narrow_f16(context, x):
    def codegen(target, builder, signature, arguments):
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), codegen


@inline
def narrow_f16(x):
    """The nearest float16, ties to even."""
    return _narrow_f16(np.float32(x))


@intrinsic
def add_up(context, total, x):
    """``total + x`` of one width; sums over elements are the one place where the order of additions is free."""

    def codegen(target, builder, signature, arguments):
        return builder.fadd(arguments[0], arguments[1], flags=("reassoc",))

    return total(total, total), codegen


@intrinsic
def add_product(context, total, a, b):
    """``total + a * b`` of one width, in one operation where the processor has it; order is free as in `add_up`."""

    def codegen(target, builder, signature, arguments):
        product = builder.fmul(arguments[1], arguments[2], flags=("contract",))
        return builder.fadd(arguments[0], product, flags=("reassoc", "contract"))

    return total(total, total, total), codegen


@njit(error_model="numpy")
def fold(strip, n):
    """The sum of the first ``n`` numbers, made in their own width."""
    total = strip.dtype.type(0)
    for i in range(n):
        total = add_up(total, strip[i])
    return np.float64(total)


@intrinsic
def flush_subnormals(context):
    """Read and write subnormal numbers as zero on this thread; what to hand to `restore_mode`."""

    def codegen(target, builder, signature, arguments):
        if not X86:
            return ir.Constant(ir.IntType(32), 0)
        slot = cgutils.alloca_once(builder, ir.IntType(32))
        _control(builder, slot, "llvm.x86.sse.stmxcsr")
        old = builder.load(slot)
        builder.store(builder.or_(old, ir.Constant(ir.IntType(32), int(FLUSH))), slot)
        _control(builder, slot, "llvm.x86.sse.ldmxcsr")
        return old

    return types.uint32(), codegen


@intrinsic
def restore_mode(context, mode):
    """Undo `flush_subnormals`."""

    def codegen(target, builder, signature, arguments):
        if X86:
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(arguments[0], slot)
            _control(builder, slot, "llvm.x86.sse.ldmxcsr")
        return target.get_dummy_value()

    return types.void(types.uint32), codegen


def _control(builder: Any, slot: Any, name: str) -> None:
    pointer = ir.IntType(8).as_pointer()
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [pointer]), name)
    builder.call(function, [builder.bitcast(slot, pointer)])

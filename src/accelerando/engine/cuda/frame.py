"""The parts of a kernel that no rule changes: records, chunks, who arrives last, sums in fixed order.

`layout` says what is where.
"""

import triton
import triton.language as tl

from accelerando.engine.cuda import layout

HEADER = tl.constexpr(layout.HEADER)


@triton.jit
def proceeds(gradients, control):
    """Whether this step is made: no infinity found by the scaler, none found where the policy is to skip."""
    found = tl.load(tl.load(gradients).to(tl.pointer_type(tl.float32)))
    return (found == 0) & (tl.load(control + 1) == 0)


@triton.jit
def gradient_scale(gradients, control, numbers):
    """The factor of a group's gradients: their sign, the clip of their norm, the scaler's division."""
    cap = tl.load(numbers + 1)
    loss = tl.load(tl.load(gradients + 1).to(tl.pointer_type(tl.float32))).to(tl.float64)
    clip = cap / (tl.load(control) + 1e-6)
    return tl.load(numbers) * tl.where((cap < 0) | (clip > 1), 1.0, clip) / loss


@triton.jit
def age(record, live):
    """How many steps a parameter will have made with this one."""
    return tl.load(tl.load(record + 2, live, 0).to(tl.pointer_type(tl.float32)), live, 0).to(tl.float64) + 1.0


@triton.jit
def in_whole_blocks(count, addresses, BLOCK: tl.constexpr):
    """How many elements of a chunk can be read 16 bytes at a time: none where an address is in between."""
    return tl.where((addresses & 15) == 0, count // BLOCK * BLOCK, 0)


@triton.jit
def arrives_last(counter, expected):
    """Whether this program is the last of ``expected`` to come here; it sees what the others have written."""
    tl.debug_barrier()
    last = tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == expected - 1
    tl.debug_barrier()
    if last:
        tl.store(counter, 0)
    return last


@triton.jit
def address(table, entry: tl.constexpr):
    """An address of the header, of float64 numbers."""
    return tl.load(table + entry).to(tl.pointer_type(tl.float64))


@triton.jit
def total(numbers, stride, first, end, LANES: tl.constexpr):
    """The sum of ``numbers[first * stride]`` to before ``end``, in an order that never changes."""
    lane = tl.arange(0, LANES)
    kept = tl.zeros([LANES], tl.float64)
    for at in range(first, end, LANES):
        live = at + lane < end
        kept += tl.load(numbers + (at + lane) * stride, live, 0, cache_modifier=".cg")
    return tl.sum(kept)


@triton.jit
def advance(table, RECORDED: tl.constexpr, LANES: tl.constexpr):
    """Count this step for every tensor."""
    tensors = tl.load(table)
    for first in range(0, tensors, LANES):
        tensor = first + tl.arange(0, LANES)
        live = tensor < tensors
        count = tl.load(table + HEADER + tensor * RECORDED + 2, live, 0).to(tl.pointer_type(tl.float32))
        tl.store(count, tl.load(count, live, 0) + 1, live)


@triton.jit
def remember(table, RECORDED: tl.constexpr, NAMES: tl.constexpr, LANES: tl.constexpr):
    """Put what the first pass decided to remember in its place, now that nobody reads the old."""
    fresh = address(table, 8)
    places = table + HEADER + tl.load(table) * RECORDED + tl.load(table + 1) * 2
    count = tl.load(table + 2) * NAMES
    for first in range(0, count, LANES):
        at = first + tl.arange(0, LANES)
        live = at < count
        value = tl.load(fresh + at, live, 0, cache_modifier=".cg")
        tl.store(tl.load(places + at, live, 0).to(tl.pointer_type(tl.float64)), value, live)

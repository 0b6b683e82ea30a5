"""From source text to kernels that can be launched: a file in the cache, an import, a compiled kernel held on to."""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl

from accelerando.engine import cache as kept
from accelerando.engine.anatomy import Rule
from accelerando.engine.cuda.layout import Geometry, Scheme, crowded
from accelerando.engine.cuda.source import source
from accelerando.engine.passes import Pass, passes


def options(rule: Rule, scheme: Scheme) -> dict[str, Any]:
    """Compile options: four warps, no staging through shared memory, no contraction to fused multiply-add.

    At most 80 registers keep 24 warps on a multiprocessor. Rules with many arrays and sums get 104 and 16 warps, which
    have as many bytes under way; float64 takes what it needs. Beside a remainder or moments stored by chance, the most
    with which a multiprocessor still has 20 warps; 16, also where one pass both steps and sums.
    """
    kept = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": False}
    if scheme.compute == torch.float64:
        return kept
    if scheme.stores.crowds:
        sums_as_it_steps = bool(rule.sums) and not rule.two_passes
        return kept | {"maxnreg": 128 if crowded(rule) or sums_as_it_steps else 96}
    return kept | {"maxnreg": 104 if crowded(rule) else 80}


DTYPES = {
    torch.float64: tl.float64, torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16,
    torch.int16: tl.int16,
}  # fmt: skip


class Kernel:
    """One pass of a rule in one scheme of dtypes; compiled at its first launch, called directly after that."""

    def __init__(self, function: Any, constants: dict[str, Any], options: dict[str, Any]) -> None:
        self.function, self.constants, self.options = function, constants, options
        self.compiled: dict[int, Any] = {}

    def launch(self, programs: int, arguments: tuple[torch.Tensor, ...]) -> None:
        """Run ``programs`` programs over ``arguments``, on the current stream."""
        device = arguments[0].get_device()
        compiled = self.compiled.get(device)
        if compiled is None:
            self.compiled[device] = self.function[(programs,)](*arguments, **self.constants, **self.options)
        else:
            compiled[(programs, 1, 1)](*arguments, *self.constants.values())


def constants(rule: Rule, scheme: Scheme, geometry: Geometry) -> dict[str, Any]:
    """What a kernel is compiled for."""
    names = [f"{n}_T" for n in scheme.stores.arrays(rule)]
    dtypes = [scheme.parameter, scheme.gradient, *scheme.buffers, *([torch.int16] * scheme.stores.remainder)]
    made = {name: DTYPES[dtype] for name, dtype in zip(names, dtypes, strict=True)}
    numbers = {"BLOCK_": geometry.block, "TAIL_": geometry.tail, "CHUNK_": geometry.chunk}
    numbers |= {"THREADS_": geometry.threads, "LANES_": geometry.lanes}
    return made | {"C_": DTYPES[scheme.compute]} | numbers


@cache
def kernels(rule: Rule, scheme: Scheme, geometry: Geometry) -> tuple[tuple[Pass, Kernel], ...]:
    """The passes of ``rule`` over tensors of ``scheme``."""
    ways = passes(rule, scheme.exact)
    stem = re.sub(r"\W+", "_", f"{rule.name}_cuda").lower()
    module = kept.load(stem, source(rule, ways, scheme.stores), *_ingredients())
    given = constants(rule, scheme, geometry)
    told = options(rule, scheme)
    return tuple((way, Kernel(getattr(module, way.name), given, told)) for way in ways)


_PARTS = ("operations.py", "frame.py", "rounding.py")


@cache
def _ingredients() -> tuple[str, ...]:
    """What else decides what a text compiles to."""
    here = Path(__file__).parent
    parts = [hashlib.sha256((here / name).read_bytes()).hexdigest() for name in _PARTS]
    return *parts, triton.__version__

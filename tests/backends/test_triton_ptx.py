"""What the CUDA backend's kernels compile to, without a GPU: PTX for two generations, and registers."""

import ast
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from accelerando import optim
from accelerando.engine import registry
from accelerando.engine.cuda import build
from accelerando.engine.cuda.layout import THREADS, Scheme, Stores, crowded, geometry
from accelerando.engine.cuda.survey import survey

from . import rules

assert optim
ARGUMENTS = {
    "table_": "*i64", "gradients_": "*i64", "chunks_": "*i32", "numbers_": "*fp64", "control_": "*fp64",
    "counters_": "*i32",
}  # fmt: skip
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
FLOATS = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}
RULES = {rule.name: rule for n in registry.names() for rule in registry.find(n).rules.values()}


SHIPPED = list(RULES)
FOREIGN = {
    cls.__name__: cls.rules[None] for cls in (*rules.ELEMENTWISE, *rules.WITH_SUMS, *rules.ACROSS_SCOPES)
}
PLAIN = [name for name in SHIPPED if "(" not in name]
CASES = [
    (name, scheme, capability) for name in PLAIN for scheme in ("f32", "bf16") for capability in (80, 90)
]
OTHERS = [name for name in (*SHIPPED, *FOREIGN) if name not in PLAIN]
CASES += [(name, *case) for name in OTHERS for case in (("f32", 90), ("bf16", 80))]
CASES += [(name, "f16", 90) for name in ("AdamW", "LAMB")]
RULES |= FOREIGN


FEW = 16
"""Bytes of stack that a number or two take."""
SPILLED = 0 if tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 9) else FEW
"""Bytes that a kernel without library functions may take: the assembler of Triton 3.8 finds fewer registers."""


def scheme_of(name, rule):
    dtype = FLOATS[name]
    return Scheme(dtype, dtype, (torch.promote_types(dtype, torch.float32),) * len(rule.buffers))


def compiled(kernel, capability):
    """The PTX of a kernel, and how many registers, and bytes of stack, the assembler gave it."""
    signature = ARGUMENTS | dict.fromkeys(kernel.constants, "constexpr")
    aligned = {(k,): [["tt.divisibility", 16]] for k in range(len(ARGUMENTS))}
    source = ASTSource(fn=kernel.function, signature=signature, constexprs=kernel.constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=kernel.options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        shown = subprocess.run(
            [TOOLS / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", shown)
    assert found, shown
    return made.asm["ptx"], int(found[1]), int(found[2])


def vectors(ptx, direction):
    """How many accesses of 16 bytes a thread there are."""
    return len(re.findall(rf"{direction}\.global\S*\.(?:v4\.b32|v2\.b64)", ptx))


def expected_vectors(names, rule, scheme, block):
    size = {"p": scheme.parameter.itemsize, "g": scheme.gradient.itemsize}
    size |= {b: dtype.itemsize for b, dtype in zip(rule.buffers, scheme.buffers, strict=True)}
    return sum(block // THREADS * size[n] // 16 for n in names)


@pytest.mark.parametrize(("name", "storage", "capability"), CASES)
def test_ptx(name, storage, capability):
    rule = RULES[name]
    scheme = scheme_of(storage, rule)
    block = geometry(rule, scheme).block
    for way, kernel in build.kernels(rule, scheme, geometry(rule, scheme)):
        ptx, registers, stack = compiled(kernel, capability)
        assert vectors(ptx, "ld") == expected_vectors(way.reads, rule, scheme, block)
        assert vectors(ptx, "st") == expected_vectors(way.writes, rule, scheme, block)
        library = check_arithmetic(ptx, way)
        check_order(ptx, way)
        assert registers <= (104 if crowded(rule) else 80)
        assert stack <= (FEW if library else SPILLED)  # a library function may keep its own few numbers there


STORED = [
    ("AdamW", "bf16", Stores(("p",))),
    ("AdamW", "f16", Stores(("p",))),
    ("AdamW", "bf16", Stores(("p", "exp_avg", "exp_avg_sq"))),
    ("LAMB", "bf16", Stores(("p", "exp_avg", "exp_avg_sq"))),
    ("AdamW", "bf16", Stores(remainder=True)),
    ("LAMB", "bf16", Stores(remainder=True)),
    ("Accelerando", "bf16", Stores(("p", "exp_avg", "exp_avg_sq"))),
]


@pytest.mark.parametrize(("name", "storage", "stores"), STORED)
def test_stores_that_need_more_than_rounding(name, storage, stores):
    rule, dtype = RULES[name], FLOATS[storage]
    buffers = [torch.bfloat16 if b in stores.drawn else torch.float32 for b in rule.buffers]
    scheme = Scheme(dtype, dtype, tuple(buffers), stores)
    block = geometry(rule, scheme).block
    for way, kernel in build.kernels(rule, scheme, geometry(rule, scheme)):
        ptx, registers, stack = compiled(kernel, 90)
        halves = [
            block // THREADS * 2 // 16 if stores.remainder and "p" in n else 0
            for n in (way.reads, way.writes)
        ]
        assert vectors(ptx, "ld") == expected_vectors(way.reads, rule, scheme, block) + halves[0]
        assert vectors(ptx, "st") == expected_vectors(way.writes, rule, scheme, block) + halves[1]
        assert registers <= (128 if name == "Accelerando" else 96 if stores.crowds else 80)
        assert stack <= SPILLED
        check_order(ptx, way)


def check_arithmetic(ptx, way):
    """Exact division and roots, no contraction; whether there are library functions, which fuse and divide inside."""
    lines = [*way.direction.body, *(way.apply.body if way.apply else ())]
    trees = [node for _, value in lines for node in ast.walk(value)]
    called = {node.func.id for node in trees if isinstance(node, ast.Call)}
    operators = {type(node.op) for node in trees if isinstance(node, ast.BinOp)}
    assert not re.search(r"(div\.full|div\.approx|sqrt\.approx)\S*\.f32", ptx)
    assert ("div.rn.f32" in ptx) == (ast.Div in operators)
    assert ("sqrt.rn.f32" in ptx) == ("sqrt" in called)
    library = bool(called & {"exp", "log"}) or ast.Pow in operators
    assert library or not re.search(r"fma\.rn\S*\.f32|rcp\.approx\S*\.f32", ptx)
    return library


def check_order(ptx, way):
    assert not re.search(r"(ld|st)\.local", ptx)
    assert not re.search(r"(atom|red)\S*\.f(16|32|64)", ptx)
    arrivals = re.findall(r"atom\.global\.gpu\.acq_rel\.add\.[us]32", ptx)
    assert len(arrivals) == (2 if way.sums else 1)


@pytest.mark.parametrize("storage", ["f32", "bf16"])
def test_the_survey_reads_16_bytes_at_once_and_adds_in_float64(storage):
    scheme = Scheme(torch.float64, FLOATS[storage], ())
    rule = survey()
    way, kernel = build.kernels(rule, scheme, geometry(rule, scheme))[0]
    ptx, registers, stack = compiled(kernel, 90)
    assert vectors(ptx, "ld") == expected_vectors(("g",), rule, scheme, geometry(rule, scheme).block)
    assert registers <= 80
    assert stack <= SPILLED
    check_order(ptx, way)


def test_float64_is_divided_and_rooted_exactly_without_spills():
    rule = RULES["LAMB"]
    scheme = scheme_of("f64", rule)
    for way, kernel in build.kernels(rule, scheme, geometry(rule, scheme)):
        ptx, _, stack = compiled(kernel, 90)
        assert vectors(ptx, "ld") == expected_vectors(way.reads, rule, scheme, geometry(rule, scheme).block)
        assert {"div.rn.f64", "sqrt.rn.f64"} <= set(re.findall(r"(?:div|sqrt)\.rn\.f64", ptx))
        assert stack <= SPILLED
        check_order(ptx, way)


def test_constants_are_given_in_the_order_of_the_arguments():
    rule = RULES["LAMB"]
    scheme = scheme_of("f32", rule)
    for _, kernel in build.kernels(rule, scheme, geometry(rule, scheme)):
        assert kernel.function.arg_names == [*ARGUMENTS, *kernel.constants]

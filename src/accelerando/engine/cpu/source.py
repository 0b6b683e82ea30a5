"""From a rule to the text of one CPU kernel module.

A module has ``first`` (the pass over parameters, gradients and buffers; for rules without sums the only one),
``settle`` (sums of chunks to sums of tensors, and the decision where it is made per tensor) and ``second``.

Tables, all in C order:
    table: int64: addresses by tensor (`Kernel.addresses`), the row of `rows` that it reads, the keys of its draws.
    chunks: int64 (5, chunks): tensor, first element, elements, 1 if the chunk is its whole tensor, and the index
        of the first element within a tensor of which this one may be a part.
    rows: float64 (kinds, 1 + columns): the gradient's factor, the rule's scalars, decisions made before the pass.
    partial: float64 (chunks, sums, then what telemetry tells);  sums: float64 (tensors, sums).
    memory: float64 (memory per tensor, tensors);  decided: float64 (tensors, decided).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import indent

from accelerando.engine.anatomy import Rule
from accelerando.engine.grammar import OPERATIONS, Function
from accelerando.engine.lowering import Dialect, Names, render
from accelerando.engine.slicing import again
from accelerando.engine.stores import REMAINDER
from accelerando.engine.telemetry import FIRST_MOMENT, TOLD

KERNEL = Dialect("F({})")
HOST = Dialect("{}")
TYPES = "int64[:,::1], int64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1]"
_VIEW = {"f32": "view_f32", "f64": "view_f64", "bf16": "view_u16", "f16": "view_u16"}
_BYTES = {"f32": 4, "f64": 8, "bf16": 2, "f16": 2}
_CALLS = ("div", "power")
FEW = 512
"""Elements whose telemetry is summed in the compute type: a few additions for each lane of a vector."""


@dataclass(frozen=True)
class Scheme:
    """How a set of parameters lies in memory.

    Attributes:
        p, g: the storage of parameters and gradients.
        compute: what is computed in, and buffers are kept in.
        store: how p is stored (see `accelerando.engine.stores.Policy`).
        moments: the storage of buffers that start at zero, stochastic where it is ``bf16``.
    """

    p: str
    g: str
    compute: str
    store: str = "nearest"
    moments: str = "f32"

    def __str__(self) -> str:
        kinds = [*dict.fromkeys((self.p, self.g, self.compute))]
        kinds += [self.store] if self.store != "nearest" else []
        return "-".join([*kinds, *(["moments", "bf16"] if self.moments == "bf16" else [])])


@dataclass(frozen=True)
class Kernel:
    """What a kernel module is made for.

    Attributes:
        rule: the method.
        scheme: how its parameters lie in memory.
        settles: whether decisions per tensor are made by the kernel, in the pass that needs them, not by the host.
        tells: whether it also sums what the step did, for telemetry.
    """

    rule: Rule
    scheme: Scheme
    settles: bool
    tells: bool = False

    @property
    def scratch(self) -> tuple[str, ...]:
        """Values per element that the second pass cannot make again, and that the first must store."""
        if not self.rule.two_passes or self.again is not None:
            return ()
        rounded = [b for b in self.rule.apply.arguments if self.storage(b) != self.scheme.compute]
        return (*self.rule.carried, *(b for b in rounded if b in self.rule.buffers))

    @cached_property
    def again(self) -> Function | None:
        """The part of the first pass that the second makes again, unless stores round what it would read."""
        return None if self.scheme.moments != self.scheme.compute else again(self.rule)

    @property
    def kept(self) -> tuple[str, ...]:
        """What the state keeps per element."""
        return (*self.rule.buffers, *([REMAINDER] if self.scheme.store == "compensated" else []))

    @property
    def drawn(self) -> dict[str, int]:
        """The arrays stored by chance, and their slots (see `accelerando.engine.hashing`)."""
        slots = {name: k for k, name in enumerate(("p", *self.rule.buffers))}
        return {name: k for name, k in slots.items() if self.by_chance(name)}

    def by_chance(self, name: str) -> bool:
        """Whether an array is stored stochastically."""
        return self.scheme.store == "stochastic" if name == "p" else self.storage(name) != self.scheme.compute

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``rows`` after the gradient's factor."""
        early = self.rule.decided if self.rule.decides_first else ()
        return (*self.rule.columns, *early, *(("keep_",) if self.tells else ()))

    @property
    def told(self) -> int:
        """The column of ``partial`` with which what is told begins."""
        return len(self.rule.sums)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The rows of ``table`` before the last."""
        return ("p", "g", *self.kept, *(f"kept_{n}" for n in self.scratch))

    def storage(self, name: str) -> str:
        """How the array called ``name`` is stored."""
        if name in (REMAINDER, "p"):
            return self.scheme.p
        moment = self.rule.buffers.get(name) == "zeros"
        return self.scheme.g if name == "g" else self.scheme.moments if moment else self.scheme.compute


def text(kernel: Kernel) -> str:
    """The module."""
    rule = kernel.rule
    head = f'"""{rule.name} on {kernel.scheme} parameters: made from the functions of the rule."""\n\n'
    head += (
        "import numpy as np\nfrom numba import njit\n\nfrom accelerando.engine.cpu.operations import *\n\n"
    )
    if kernel.drawn or REMAINDER in kernel.kept:
        head = head.rstrip("\n") + "\nfrom accelerando.engine.cpu.rounding import *\n\n"
    head += f"F = np.float{kernel.scheme.compute[1:]}\n"
    parts = [head]
    if kernel.settles:
        parts.append(_decide(rule))
    parts.append(_move(kernel, first=True))
    if rule.sums:
        parts.append(_settle(kernel))
    if rule.two_passes:
        parts.append(_move(kernel, first=False))
    return "\n\n".join(parts)


def measure_text(storage: str) -> str:
    """The module that measures gradients of one storage: ``table[1]`` has their addresses."""
    width = "f64" if storage == "f64" else "f32"
    read = f"widen_{storage}(g_[i_])" if storage in ("bf16", "f16") else "g_[i_]"
    types = "int64[:,::1], int64[:,::1], float64[:,::1], int64, int64"
    return (
        f'"""Gradients stored as {storage}, measured: sums of squares, and counts of what is not finite."""\n\n'
        "import numpy as np\nfrom numba import njit\n\nfrom accelerando.engine.cpu.operations import *\n\n\n"
        f'@njit("void({types})", nogil=True, cache=True, error_model="numpy")\n'
        "def measure(table_, chunks_, measured_, begin_, end_):\n"
        "    for chunk_ in range(begin_, end_):\n"
        "        tensor_, at_, n_ = chunks_[0, chunk_], chunks_[1, chunk_], chunks_[2, chunk_]\n"
        f"        g_ = {_VIEW[storage]}(table_[1, tensor_] + {_BYTES[storage]} * at_, n_)\n"
        "        squares, bad = 0.0, 0.0\n"
        "        for i_ in range(n_):\n"
        f"            g = np.float{width[1:]}({read})\n"
        "            squares = add_up(squares, np.float64(g) * np.float64(g))\n"
        "            bad = add_up(bad, where(g - g == 0, 0.0, 1.0))\n"
        "        measured_[chunk_, 0] = squares\n"
        "        measured_[chunk_, 1] = bad\n"
    )


def _jit(extra: str) -> str:
    return f'@njit("void({TYPES}, {extra})", nogil=True, cache=True, error_model="numpy")\n'


def _move(kernel: Kernel, first: bool) -> str:
    """A pass over chunks: the first in order; the second in reverse, so that it starts in what the cache holds."""
    name, at = ("first", "chunk_ = begin_ + k_") if first else ("second", "chunk_ = end_ - 1 - k_")
    body = "mode_ = flush_subnormals()\nfor k_ in range(end_ - begin_):\n"
    chunk = f"{at}\ntensor_, at_ = chunks_[0, chunk_], chunks_[1, chunk_]\n"
    chunk += "n_, whole_ = chunks_[2, chunk_], chunks_[3, chunk_]\n"
    if not first and kernel.settles:
        chunk += "if whole_ == 1:\n    continue\n"
    chunk += f"row_ = table_[{len(kernel.addresses)}, tensor_]\n"
    chunk += _first_pass(kernel) if first else _second_pass(kernel)
    body += indent(chunk, "    ") + "restore_mode(mode_)\n"
    arguments = "table_, chunks_, rows_, partial_, memory_, decided_, begin_, end_"
    return _jit("int64, int64") + f"def {name}({arguments}):\n" + indent(body, "    ")


def _views(kernel: Kernel, names: tuple[str, ...]) -> str:
    lines = ""
    rest = (REMAINDER,) if "p" in names and REMAINDER in kernel.kept else ()
    for name in (*names, *rest):
        row, kind = kernel.addresses.index(name), kernel.storage(name)
        lines += f"{name}_ = {_VIEW[kind]}(table_[{row}, tensor_] + {_BYTES[kind]} * at_, n_)\n"
    return lines


def _load(kernel: Kernel, name: str) -> str:
    kind = kernel.storage(name)
    if name == "p" and REMAINDER in kernel.kept:
        return f"join(p_[i_], {REMAINDER}_[i_])"
    read = f"widen_{kind}({name}_[i_])" if kind in ("bf16", "f16") else f"{name}_[i_]"
    return read if _computed(kind) == kernel.scheme.compute else f"F({read})"


def _store(kernel: Kernel, name: str, value: str) -> str:
    kind = kernel.storage(name)
    if name == "p" and REMAINDER in kernel.kept:
        return f"p_[i_], {REMAINDER}_[i_] = upper({value}), lower({value})"
    if name in kernel.drawn:
        return f"{name}_[i_] = stochastic_{kind}({value}, random16(drawn_, second_, {kernel.drawn[name]}))"
    return f"{name}_[i_] = narrow_{kind}({value})" if kind in ("bf16", "f16") else f"{name}_[i_] = {value}"


def _drawing(kernel: Kernel, stored: set[str]) -> tuple[str, list[str]]:
    """What a pass that stores these arrays needs for its random bits: lines before the loop, and lines in it."""
    if not stored & set(kernel.drawn):
        return "", []
    row = len(kernel.addresses)
    setup = (
        f"first_, second_ = np.uint32(table_[{row + 1}, tensor_]), np.uint32(table_[{row + 2}, tensor_])\n"
    )
    from_chunk = "chunks_[4, chunk_] + at_ - chunks_[1, chunk_]" if kernel.tells else "chunks_[4, chunk_]"
    return setup + f"start_ = np.uint32({from_chunk})\n", ["drawn_ = draw(start_, i_, first_)"]


def _computed(kind: str) -> str:
    return "f64" if kind == "f64" else "f32"


def _scalars(kernel: Kernel, names: set[str]) -> str:
    wanted = names | {"keep_"}
    return "".join(f"{n} = F(rows_[row_, {k}])\n" for k, n in enumerate(kernel.columns, 1) if n in wanted)


def _first_pass(kernel: Kernel) -> str:
    rule = kernel.rule
    asked = {*rule.direction.arguments, *(() if rule.two_passes else rule.apply.arguments)}
    names = Names({"F", "factor_", "p", "g", *rule.buffers, *kernel.columns, *_RESERVED})
    lines, made = render(rule.direction, {a: a for a in rule.direction.arguments}, names, KERNEL)
    loads = ["p", "g", *rule.buffers]
    read = {*rule.direction.arguments} | (set() if rule.two_passes else set(rule.apply.arguments))
    read |= {rule.old[a] for a in read if a in rule.old}
    read |= {"p"} if kernel.tells and not rule.two_passes else set()
    loads = [n for n in loads if n in read or n == "g"]
    given = ["given_ = g"] if kernel.tells else []
    loop = [f"{n} = {_load(kernel, n)}" for n in loads] + [*given, "g = g * factor_", *lines]
    written = [b for b in rule.buffers if made[b] != b]
    loop += [_store(kernel, b, made[b]) for b in written]
    sums = [f"sum_{s}_" for s in rule.sums]
    loop += [f"sum_{s}_ = add_up(sum_{s}_, np.float64({made[s]}))" for s in rule.sums]
    known = {a: a for a in (*kernel.columns, "p", "g")} | dict(rule.old) | made
    loop += [_store(kernel, f"kept_{n}", known[n]) for n in kernel.scratch]
    told = _tell_direction(rule, made) if kernel.tells else {}
    if not rule.two_passes:
        moved, result = render(rule.apply, {a: known[a] for a in rule.apply.arguments}, names, KERNEL)
        loop += [*moved, *_store_moved(kernel, result["p"])]
        told |= _TELL_MOVE if kernel.tells else {}
    loop += [f"few_{n} = add_up(few_{n}, {x})" for n, x in told.items()]
    touched = tuple(dict.fromkeys([*loads, *written, *(f"kept_{n}" for n in kernel.scratch)]))
    if not rule.two_passes:
        touched = tuple(dict.fromkeys(["p", *touched]))
    stored = {*written, *(() if rule.two_passes else ("p",))}
    setup, drawing = _drawing(kernel, stored)
    loop = [*drawing, *loop]
    out = "factor_ = F(rows_[row_, 0])\n" + _scalars(kernel, asked) + "".join(f"{s} = 0.0\n" for s in sums)
    out += _over_elements(_views(kernel, touched) + setup, loop, told)
    out += "".join(f"partial_[chunk_, {k}] = {s}\n" for k, s in enumerate(sums))
    out += _keep_told(kernel, told)
    if kernel.settles:
        out += "if whole_ == 1:\n" + indent(_ask(kernel, "tensor_", sums) + _second_pass(kernel), "    ")
    return out


def _second_pass(kernel: Kernel) -> str:
    """`apply`, with what it needs of the first pass read from scratch or made again from the buffers."""
    rule, slice_ = kernel.rule, kernel.again
    names = Names({"F", "factor_", "p", "g", *rule.buffers, *kernel.columns, *rule.decided, *_RESERVED})
    known = {a: a for a in (*kernel.columns, *rule.decided, "p", "g", *rule.buffers)}
    lines: list[str] = []
    arrays = set(rule.apply.arguments)
    if kernel.scratch or slice_ is None:
        lines += [f"{names.fresh(f'was_{n}_')} = {_load(kernel, f'kept_{n}')}" for n in kernel.scratch]
        known |= {n: f"was_{n}_" for n in kernel.scratch}
    else:
        lines, made = render(slice_, known, names, KERNEL)
        known |= made
        arrays |= set(slice_.arguments)
    moved, result = render(rule.apply, {a: known[a] for a in rule.apply.arguments}, names, KERNEL)
    arrays |= {"p", "g"} if kernel.tells else set()
    loads = [n for n in ("p", "g", *rule.buffers) if n in arrays and n not in kernel.scratch]
    given = ["given_ = g"] if kernel.tells else []
    scale = [*given, "g = g * factor_"] if "g" in loads else []
    setup, drawing = _drawing(kernel, {"p"})
    loop = drawing + [f"{n} = {_load(kernel, n)}" for n in loads] + scale + lines + moved
    loop += _store_moved(kernel, result["p"])
    told = _TELL_MOVE if kernel.tells else {}
    loop += [f"few_{n} = add_up(few_{n}, {x})" for n, x in told.items()]
    touched = tuple(dict.fromkeys(["p", *loads, *(f"kept_{n}" for n in kernel.scratch)]))
    out = "factor_ = F(rows_[row_, 0])\n" + _scalars(kernel, arrays)
    out += "".join(f"{n} = F(decided_[tensor_, {k}])\n" for k, n in enumerate(rule.decided))
    return out + _over_elements(_views(kernel, touched) + setup, loop, told) + _keep_told(kernel, told)


_TELL_MOVE = {
    "told_gd_": "given_ * d_",
    "told_dd_": "d_ * d_",
    "told_pp_": "new_ * new_",
    "told_pd_": "new_ * d_",
}


def _tell_direction(rule: Rule, made: Mapping[str, str]) -> dict[str, str]:
    """Telemetry of the first pass: its accumulators, and what is added to them."""
    u, m = made[rule.direction.results[0]], made.get(FIRST_MOMENT)
    told = {"told_gg_": "given_ * given_", "told_uu_": f"{u} * {u}"}
    return told if m is None else told | {"told_mm_": f"{m} * {m}"}


def _over_elements(setup: str, loop: Sequence[str], told: Mapping[str, str]) -> str:
    """The loop over a chunk's elements; what is told is summed over a few in the compute type, then in float64.

    These few have arrays of their own: an index that could be below zero would keep the loop from being vectorised.
    """
    body = "for i_ in range(n_):\n" + "".join(f"    {line}\n" for line in loop)
    if not told:
        return setup + body
    inner = "".join(f"few_{name} = F(0.0)\n" for name in told) + setup + body
    inner += "".join(f"{name} += np.float64(few_{name})\n" for name in told)
    out = "".join(f"{name} = 0.0\n" for name in told)
    out += f"first_at_, all_ = at_, n_\nfor from_ in range(0, all_, {FEW}):\n"
    out += indent(f"at_, n_ = first_at_ + from_, min({FEW}, all_ - from_)\n" + inner, "    ")
    return out + "at_, n_ = first_at_, all_\n"


def _store_moved(kernel: Kernel, value: str) -> list[str]:
    """Store the parameter; for telemetry, know it as stored, and how far it is from where decay alone leaves it."""
    if not kernel.tells:
        return [_store(kernel, "p", value)]
    narrow = kernel.scheme.p in ("bf16", "f16")
    stored = _load(kernel, "p") if narrow else value
    return [_store(kernel, "p", value), f"new_ = {stored}", "d_ = new_ - keep_ * p"]


def _keep_told(kernel: Kernel, told: Mapping[str, str]) -> str:
    columns = {f"told_{name}_": kernel.told + k for k, name in enumerate(TOLD)}
    return "".join(f"partial_[chunk_, {columns[name]}] = {name}\n" for name in told)


def _ask(kernel: Kernel, t: str, sums: list[str]) -> str:
    """Call ``decide`` for tensor ``t``; store what it decides and remembers."""
    rule = kernel.rule
    if rule.decide is None:
        return ""
    memory = list(rule.memory)
    known = dict(zip(rule.sums, sums, strict=True))
    known |= {m: f"memory_[{k}, {t}]" for k, m in enumerate(memory)}
    known |= {n: f"rows_[row_, {k}]" for k, n in enumerate(kernel.columns, 1) if n not in memory}
    results = [
        f"memory_[{memory.index(n)}, {t}]" if n in memory else f"decided_[{t}, {rule.decided.index(n)}]"
        for n in rule.decide.results
    ]
    return f"{', '.join(results)} = decide({', '.join(known[a] for a in rule.decide.arguments)})\n".replace(
        " = decide", ", = decide" if len(results) == 1 else " = decide", 1
    )


def _decide(rule: Rule) -> str:
    if rule.decide is None:
        raise AssertionError(rule.name)
    names = Names({*rule.decide.arguments, *_RESERVED})
    lines, made = render(rule.decide, {a: a for a in rule.decide.arguments}, names, HOST)
    lines.append(f"return ({''.join(f'{made[r]}, ' for r in rule.decide.results)})")
    text = f"def decide({', '.join(rule.decide.arguments)}):\n" + "".join(f"    {line}\n" for line in lines)
    return '@njit(nogil=True, error_model="numpy")\n' + text


def _settle(kernel: Kernel) -> str:
    """Chunks' sums to tensors' sums, in the order of the chunks; decisions for tensors of several chunks."""
    rule = kernel.rule
    body = "sums_[:] = 0.0\n"
    body += "for chunk_ in range(chunks_.shape[1]):\n    tensor_ = chunks_[0, chunk_]\n"
    body += f"    for j_ in range({len(rule.sums)}):\n        sums_[tensor_, j_] += partial_[chunk_, j_]\n"
    if kernel.settles:
        body += "for chunk_ in range(chunks_.shape[1]):\n    if chunks_[1, chunk_] == 0 and chunks_[3, chunk_] == 0:\n"
        body += (
            f"        tensor_ = chunks_[0, chunk_]\n        row_ = table_[{len(kernel.addresses)}, tensor_]\n"
        )
        body += indent(
            _ask(kernel, "tensor_", [f"sums_[tensor_, {k}]" for k in range(len(rule.sums))]), "        "
        )
    arguments = "table_, chunks_, rows_, partial_, memory_, decided_, sums_"
    return _jit("float64[:,::1]") + f"def settle({arguments}):\n" + indent(body, "    ")


_ROUNDING = ("draw", "random16", "stochastic_bf16", "stochastic_f16", "join", "upper", "lower")
_RESERVED = {"np", "njit", "decide", "add_up", *OPERATIONS, *_CALLS, *_ROUNDING}

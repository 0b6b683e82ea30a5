"""From a rule to the text of one CPU kernel module.

A module has ``first`` (the pass over parameters, gradients and buffers; for rules without sums the only one),
``settle`` (sums of chunks to sums of tensors, and the decision where it is made per tensor) and ``second``.

Tables, all in C order:
    table: int64: addresses by tensor (`Kernel.addresses`), the row of `rows` that it reads, the keys of its draws.
    chunks: int64 (6, chunks): tensor, first element, elements; whether one call walks its whole tensor (2: this is
        the last chunk of it); the index of its first element within a tensor of which this one may be a part; and
        the tensor's first chunk.
    rows: float64 (kinds, 1 + columns): the gradient's factor, the rule's scalars, decisions made before the pass.
    partial: float64 (chunks, sums, then what telemetry tells);  sums: float64 (tensors, sums).
    memory: float64 (memory per tensor, tensors);  decided: float64 (tensors, decided).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import indent

from accelerando.engine.anatomy import Rule
from accelerando.engine.cpu import telling
from accelerando.engine.grammar import OPERATIONS, Function
from accelerando.engine.lowering import Dialect, Names, render
from accelerando.engine.slicing import again
from accelerando.engine.stores import REMAINDER

KERNEL = Dialect("F({})")
HOST = Dialect("{}")
TYPES = "int64[:,::1], int64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1]"
_VIEW = {"f32": "view_f32", "f64": "view_f64", "bf16": "view_u16", "f16": "view_u16"}
_BYTES = {"f32": 4, "f64": 8, "bf16": 2, "f16": 2}
STRIP = 512
"""Elements that are summed in the width that is computed in, before float64 takes them."""
_CALLS = ("div", "power")


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


_PLACE = "tensor_, at_, n_ = chunks_[0, chunk_], chunks_[1, chunk_], chunks_[2, chunk_]\n"


def _move(kernel: Kernel, first: bool) -> str:
    """A pass over chunks: the first in order; the second in reverse, so that it starts in what the cache holds."""
    name, at = ("first", "chunk_ = begin_ + k_") if first else ("second", "chunk_ = end_ - 1 - k_")
    body = "mode_ = flush_subnormals()\n"
    body += "".join(f"strip_sum_{n}_ = np.empty({STRIP}, F)\n" for n in kernel.rule.sums if first)
    body += "for k_ in range(end_ - begin_):\n"
    chunk = f"{at}\n{_PLACE}"
    if not first and kernel.settles:
        chunk += "if chunks_[3, chunk_] > 0:\n    continue\n"
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
    return setup + "start_ = np.uint32(chunks_[4, chunk_] + at_ - chunks_[1, chunk_])\n", [
        "drawn_ = draw(start_, i_, first_)"
    ]


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
    loop = [f"{n} = {_load(kernel, n)}" for n in loads] + ["g = g * factor_", *lines]
    written = [b for b in rule.buffers if made[b] != b]
    loop += [_store(kernel, b, made[b]) for b in written]
    sums = [f"sum_{s}_" for s in rule.sums]
    loop += [f"strip_sum_{s}_[i_] = {made[s]}" for s in rule.sums]
    known = {a: a for a in (*kernel.columns, "p", "g")} | dict(rule.old) | made
    loop += [_store(kernel, f"kept_{n}", known[n]) for n in kernel.scratch]
    told = telling.tell_direction(rule, made) if kernel.tells else {}
    if not rule.two_passes:
        moved, result = render(rule.apply, {a: known[a] for a in rule.apply.arguments}, names, KERNEL)
        loop += [*moved, *_store_moved(kernel, result["p"])]
        told |= telling.MOVE if kernel.tells else {}
    loop += telling.add_told(told)
    touched = tuple(dict.fromkeys([*loads, *written, *(f"kept_{n}" for n in kernel.scratch)]))
    if not rule.two_passes:
        touched = tuple(dict.fromkeys(["p", *touched]))
    stored = {*written, *(() if rule.two_passes else ("p",))}
    setup, drawing = _drawing(kernel, stored)
    loop = [*drawing, *loop]
    out = "factor_ = F(rows_[row_, 0])\n" + _scalars(kernel, asked)
    out += _over_elements(_views(kernel, touched) + setup, loop, sums, [*told])
    out += "".join(f"partial_[chunk_, {k}] = {s}\n" for k, s in enumerate(sums))
    out += _keep_told(kernel, [*told])
    return out + (_finish(kernel, sums) if kernel.settles else "")


def _finish(kernel: Kernel, sums: list[str]) -> str:
    """Where a tensor ends that this call has walked: sum up, decide, move; backwards, through what the cache holds."""
    add = "".join(f"    {s} += partial_[j_, {k}]\n" for k, s in enumerate(sums))
    fold = "".join(f"{s} = 0.0\n" for s in sums) + f"for j_ in range(chunks_[5, chunk_], chunk_ + 1):\n{add}"
    again = "for chunk_ in range(chunk_, chunks_[5, chunk_] - 1, -1):\n"
    again += indent(_PLACE + _second_pass(kernel), "    ")
    return "if chunks_[3, chunk_] == 2:\n" + indent(fold + _ask(kernel, "tensor_", sums) + again, "    ")


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
    scale = ["g = g * factor_"] if "g" in loads else []
    setup, drawing = _drawing(kernel, {"p"})
    loop = drawing + [f"{n} = {_load(kernel, n)}" for n in loads] + scale + lines + moved
    loop += _store_moved(kernel, result["p"])
    told = telling.MOVE if kernel.tells else {}
    loop += telling.add_told(told)
    touched = tuple(dict.fromkeys(["p", *loads, *(f"kept_{n}" for n in kernel.scratch)]))
    out = "factor_ = F(rows_[row_, 0])\n" + _scalars(kernel, arrays)
    out += "".join(f"{n} = F(decided_[tensor_, {k}])\n" for k, n in enumerate(rule.decided))
    out += _over_elements(_views(kernel, touched) + setup, loop, [], [*told])
    return out + _keep_told(kernel, [*told])


def _keep_told(kernel: Kernel, told: list[str]) -> str:
    return telling.keep_told(kernel.told, told, _views(kernel, ("g",)), _load(kernel, "g")) if told else ""


def _over_elements(setup: str, loop: list[str], sums: Sequence[str], told: Sequence[str]) -> str:
    """The loop over a chunk's elements, with what it reads, and in strips where anything is summed.

    A strip's sums are made in the width that is computed in: they lose next to nothing over a few hundred numbers,
    and twice as many of these fit into a vector; strips are added in float64. The rule's own terms are set down and
    summed in a loop of their own, which is the same whatever else a kernel does, so that telling changes no bit.

    Each strip has arrays of its own, since an index that might be below zero would keep the loop from being vectorised.
    """
    body = "for i_ in range(n_):\n" + "".join(f"    {line}\n" for line in loop)
    if not sums and not told:
        return setup + body
    strip = STRIP if sums else telling.STRIP
    inner = f"at_, n_ = chunks_[1, chunk_] + ahead_, min({strip}, chunks_[2, chunk_] - ahead_)\n" + setup
    inner += "".join(f"strip_{name} = F(0.0)\n" for name in told) + body
    inner += "".join(f"{name} += fold(strip_{name}, n_)\n" for name in sums)
    inner += "".join(f"{name} += np.float64(strip_{name})\n" for name in told)
    out = "".join(f"{name} = 0.0\n" for name in [*sums, *told])
    return out + f"for ahead_ in range(0, chunks_[2, chunk_], {strip}):\n" + indent(inner, "    ")


def _store_moved(kernel: Kernel, value: str) -> list[str]:
    """Store the parameter; for telemetry, know it as stored, and how far it is from where decay alone leaves it."""
    if not kernel.tells:
        return [_store(kernel, "p", value)]
    narrow = kernel.scheme.p in ("bf16", "f16")
    stored = _load(kernel, "p") if narrow else value
    return [_store(kernel, "p", value), f"new_ = {stored}", "d_ = new_ - keep_ * p"]


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
_RESERVED = {"np", "njit", "decide", "add_up", "add_product", *OPERATIONS, *_CALLS, *_ROUNDING}

"""The pieces of kernel text: functions, calls, the layout of records, scalars from a group's numbers."""

from collections.abc import Iterable

from accelerando.engine.anatomy import Rule
from accelerando.engine.cuda.layout import Layout
from accelerando.engine.grammar import OPERATIONS
from accelerando.engine.lowering import Dialect, Names, render
from accelerando.engine.passes import needed_for

ON_ELEMENTS = Dialect("number({}, C_)")
ON_NUMBERS = Dialect("number({}, tl.float64)")
FRAME = frozenset(
    {"tl", "triton", "number", "div", "power", *OPERATIONS, "HEADER", "address", "advance", "age"}
    | {
        "arrives_last",
        "fetch",
        "folded",
        "gradient_scale",
        "proceeds",
        "put",
        "range",
        "remember",
        "settle",
        "total",
    }
    | {"in_whole_blocks", "by_chance", "draw", "halves", "joined", "keys", "put_bits", "random16"}
)
"""Names that a rule's own may not hide; those of the frame's variables end in an underscore."""


def define(name: str, plain: Iterable[str], flags: Iterable[str], lines: Iterable[str]) -> str:
    """The text of a kernel function; ``flags`` are known when it is compiled."""
    arguments = [*plain, *(f"{flag}: tl.constexpr" for flag in flags)]
    head = f"@triton.jit\ndef {name}(\n{_filled(arguments, 4)}\n):\n"
    return head + "".join(f"    {line}\n" for line in lines)


def call(name: str, plain: Iterable[str], flags: Iterable[str], indent: int) -> str:
    """The text of a call of what `define` wrote, for a line ``indent`` columns in."""
    inner = _filled([*plain, *flags], indent + 4)
    return f"{name}(\n{inner}\n{' ' * indent})"


def _filled(arguments: Iterable[str], indent: int) -> str:
    """Arguments, filled into lines; none is broken."""
    lines, room = [""], 108 - indent
    for argument in arguments:
        if lines[-1] and len(lines[-1]) + len(argument) + 2 > room:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{argument},"
    return "\n".join(" " * indent + line for line in lines)


def scalar_lines(
    rule: Rule, wanted: Iterable[str], names: Names, live: str, instance: str
) -> tuple[list[str], dict[str, str]]:
    """Lines that make ``wanted`` numbers in float64, and their names.

    They read from ``h_``, the numbers of a group, ``record_``, and `places_`, the addresses of what is remembered.
    ``live`` is the mask of a block of instances; empty for a single one.
    """
    mask = f", {live}, 0" if live else ""
    scalars = needed_for(rule.scalars, [w for w in wanted if w in rule.scalars.results])
    asked = {*scalars.arguments, *wanted}
    lines, known = [], dict[str, str]()
    if "t" in asked:
        known["t"] = names.fresh("t")
        lines.append(f"{known['t']} = age(record_, {live or 'True'})")
    for position, name in enumerate(rule.seen):
        if name in asked:
            known[name] = names.fresh(name)
            lines.append(f"{known[name]} = tl.load(h_ + {position + 2}{mask})")
    if any(name in asked for name in rule.memory):
        start = f"HEADER + tl.load(table_) * {Layout(rule).record} + tl.load(table_ + 1) * 2"
        which = instance if rule.scope == "tensor" else f"tl.load(record_ + 1{mask})"
        lines.append(f"places_ = table_ + {start} + {which} * {len(rule.memory)}")
    for position, name in enumerate(rule.memory):
        if name in asked:
            known[name] = names.fresh(name)
            place = f"tl.load(places_ + {position}{mask}).to(tl.pointer_type(tl.float64))"
            lines.append(f"{known[name]} = tl.load({place}{mask})")
    body, made = render(scalars, known, names, ON_NUMBERS)
    return [*lines, *body], known | made

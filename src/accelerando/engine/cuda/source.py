"""From a rule to Triton source: the text of its kernels, one for each pass.

Names of the rule keep their spelling; those of the frame end in an underscore. Elements are met in the dtype ``C_``;
scalars and decisions in float64, in every program from the group's numbers, so that nothing is frozen into a launch.
"""

from accelerando.engine.anatomy import Rule
from accelerando.engine.cuda.layout import Layout, Stores
from accelerando.engine.cuda.settle import settle_source
from accelerando.engine.cuda.text import FRAME, ON_ELEMENTS, ON_NUMBERS, call, define, scalar_lines
from accelerando.engine.lowering import Names, render
from accelerando.engine.passes import Pass
from accelerando.engine.stores import REMAINDER

HEAD = '''"""{name}, for CUDA. Made from the rule; edit that."""

import triton
import triton.language as tl

from accelerando.engine.cuda.frame import HEADER, address, advance, age, arrives_last, gradient_scale, proceeds
from accelerando.engine.cuda.frame import remember, total, in_whole_blocks
from accelerando.engine.cuda.operations import abs, div, exp, fetch, folded, log, maximum, met, minimum
from accelerando.engine.cuda.operations import number, power, put, sign, sqrt, where
'''


ROUNDING = (
    "from accelerando.engine.cuda.rounding import by_chance, draw, halves, joined, keys, put_bits, random16\n"
)


def source(rule: Rule, ways: tuple[Pass, ...], stores: Stores) -> str:
    """The text of the module that steps ``rule`` in the passes ``ways``."""
    parts = [HEAD.format(name=rule.name) + (ROUNDING if stores != Stores() else "")]
    if rule.decide is not None:
        parts.append(settle_source(rule, alone=len(ways) == 1))
    for way in ways:
        parts += [_elements(rule, way, stores), _kernel(rule, way, stores)]
    return "\n\n".join(parts)


def scalars_of(rule: Rule, way: Pass) -> tuple[str, ...]:
    """The numbers of a group that the elements of a pass ask for, apart from what `decide` returned."""
    asked = [*way.direction.arguments, *(way.apply.arguments if way.apply else ())]
    return tuple(c for c in rule.columns if c in asked)


def decided_of(rule: Rule, way: Pass) -> tuple[str, ...]:
    """The results of `decide` that the elements of a pass ask for."""
    asked = [*way.direction.arguments, *(way.apply.arguments if way.apply else ())]
    return tuple(d for d in rule.decided if d in asked)


def _elements(rule: Rule, way: Pass, stores: Stores) -> str:
    """The function of one block: load, compute, store, and return what is summed."""
    names = Names(set(FRAME))
    touched = _touched(rule, way, stores)
    numbers = (*scalars_of(rule, way), *decided_of(rule, way))
    known = {n: names.fresh(n) for n in numbers}
    lines, loaded = [], dict[str, str]()
    for n in way.reads:
        loaded[n] = names.fresh(n)
        lines.append(f"{loaded[n]} = {_load(n, stores)}")
    body, made = render(way.direction, known | loaded, names, ON_ELEMENTS)
    lines += body
    if way.apply is not None:
        old = {name: loaded[b] for name, b in rule.old.items() if b in loaded}
        environment = known | loaded | old | made
        body, new = render(way.apply, environment, names, ON_ELEMENTS)
        lines += body
        made = made | new
    if _draws(way, stores):
        lines.append("drawn_ = draw(start_, first_key_, BLOCK_)")
    for n in way.writes:
        lines += _store(n, made[n], stores, slot=("p", *rule.buffers).index(n))
    if way.sums:
        folds = [f"folded({made[s]}, left_, MASKED_, BLOCK_, THREADS_)" for s in way.sums]
        lines.append(f"return {', '.join(folds)}")
    flags = ["MASKED_", *(f"{n}_T" for n in touched), "C_", "BLOCK_", "THREADS_"]
    keys = ["start_", "first_key_", "second_key_"] if _draws(way, stores) else []
    plain = ["left_", *(f"{n}_" for n in touched), "scale_", *keys, *known.values()]
    return define(f"{way.name}_elements", plain, flags, lines)


def _load(name: str, stores: Stores) -> str:
    if name == "p" and stores.remainder:
        return f"joined(p_, {REMAINDER}_, left_, MASKED_, BLOCK_)"
    scaled = " * scale_" if name == "g" else ""
    return f"fetch({name}_, left_, MASKED_, {name}_T, C_, BLOCK_){scaled}"


def _store(name: str, value: str, stores: Stores, slot: int) -> list[str]:
    if name == "p" and stores.remainder:
        kept = [f"put_bits({half}_, {half}_half_, left_, MASKED_, BLOCK_)" for half in ("p", REMAINDER)]
        return [f"p_half_, {REMAINDER}_half_ = halves({value})", *kept]
    if name in stores.drawn:
        bits = f"by_chance({value}, random16(drawn_, second_key_, {slot}), {name}_T)"
        return [f"put_bits({name}_, {bits}, left_, MASKED_, BLOCK_)"]
    return [f"put({name}_, {value}, left_, MASKED_, {name}_T, BLOCK_)"]


def _draws(way: Pass, stores: Stores) -> bool:
    """Whether a pass stores something by chance."""
    return bool(set(way.writes) & set(stores.drawn))


def _touched(rule: Rule, way: Pass, stores: Stores) -> tuple[str, ...]:
    used = {*way.reads, *way.writes}
    return tuple(n for n in stores.arrays(rule) if n in used or (n == REMAINDER and "p" in used))


def _kernel(rule: Rule, way: Pass, stores: Stores) -> str:
    """The kernel of one pass."""
    layout = Layout(rule)
    touched = _touched(rule, way, stores)
    dtypes = [f"{n}_T" for n in stores.arrays(rule)]
    plain = ["table_", "gradients_", "chunks_", "numbers_", "control_", "counters_"]
    flags = [*dtypes, "C_", "BLOCK_", "TAIL_", "CHUNK_", "THREADS_", "LANES_"]
    lines = [
        "chunk_ = chunks_ + tl.program_id(0) * 2",
        "tensor_ = tl.load(chunk_)",
        f"record_ = table_ + HEADER + tensor_ * {layout.record}",
        "size_ = tl.load(record_)",
        f"h_ = numbers_ + tl.load(record_ + 1) * {layout.numbers}",
        "first_ = tl.load(chunk_ + 1).to(tl.int64) * CHUNK_",
        "count_ = tl.minimum(size_ - first_, CHUNK_).to(tl.int32)",
    ]
    for n in touched:
        place = "gradients_ + 2 + tensor_" if n == "g" else f"record_ + {layout.entry(n)}"
        lines.append(f"{n}_ = tl.load({place}) + first_ * {n}_B")
    lines.append(f"whole_ = in_whole_blocks(count_, {' | '.join(f'{n}_' for n in touched)}, BLOCK_)")
    lines[0:0] = [f"{n}_B: tl.constexpr = {n}_T.primitive_bitwidth // 8" for n in touched]
    names = Names(set(FRAME))
    more, given = _given(rule, way, names)
    lines += more
    keys = _draws(way, stores)
    if keys:
        lines.append(f"first_key_, second_key_ = keys(record_, record_ + {layout.entry('seed')})")
        lines.append(f"start_ = (tl.load(record_ + {layout.entry('offset')}) + first_).to(tl.uint32)")
    lines += _loops(way, touched, given, keys)
    lines += _ending(rule, way, layout)
    return define(
        way.name, plain, flags, ["if proceeds(gradients_, control_):", *("    " + x for x in lines)]
    )


def _given(rule: Rule, way: Pass, names: Names) -> tuple[list[str], list[str]]:
    """Lines that make the scalars of a pass, and their names as arguments of its elements."""
    decided = decided_of(rule, way)
    wanted = scalars_of(rule, way)
    asked = rule.decide.arguments if rule.decide and rule.decides_first else ()
    lines, known = scalar_lines(rule, (*wanted, *asked), names, "", "tensor_")
    if rule.decide and rule.decides_first:
        body, made = render(rule.decide, known, names, ON_NUMBERS)
        lines += body
        known = known | {d: made[d] for d in decided}
    elif decided:
        instance = "tensor_" if rule.scope == "tensor" else "tl.load(record_ + 1)"
        lines.append(f"decided_ = address(table_, 7) + {instance} * {len(rule.decided)}")
        for d in decided:
            known = known | {d: names.fresh(d)}
            lines.append(f"{known[d]} = tl.load(decided_ + {rule.decided.index(d)})")
    scale = "gradient_scale(gradients_, control_, h_)" if "g" in way.reads else "number(1.0, tl.float64)"
    lines.append(f"scale_ = {scale}.to(C_)")
    return lines, [known[n] for n in (*wanted, *decided)]


def _loops(way: Pass, touched: tuple[str, ...], given: list[str], keys: bool) -> list[str]:
    """The whole blocks, then the rest of the chunk under a mask."""
    lines = [f"{s}_ = tl.zeros([THREADS_], tl.float64)" for s in way.sums]
    sizes = [f"{n}_T" for n in touched]
    drawing = ["start_ + at_", "first_key_", "second_key_"] if keys else []
    for head, block in (
        ("for at_ in range(0, whole_, BLOCK_)", "BLOCK_"), ("for at_ in range(whole_, count_, TAIL_)", "TAIL_"),
    ):  # fmt: skip
        addresses = [f"{n}_ + at_ * {n}_B" for n in touched]
        flags = [str(block == "TAIL_"), *sizes, "C_", block, "THREADS_"]
        text = call(
            f"{way.name}_elements",
            ["count_ - at_", *addresses, "scale_", *drawing, *(f"met({n}, C_, {block})" for n in given)],
            flags,
            indent=12,
        )
        results = ", ".join(f"{s}_part_" for s in way.sums)
        lines += [f"{head}:", f"    {results + ' = ' if results else ''}{text}"]
        lines += [f"    {s}_ += {s}_part_" for s in way.sums]
    return lines


def _ending(rule: Rule, way: Pass, layout: Layout) -> list[str]:
    """What the last program does: sums in fixed order, the decision, the count of steps."""
    last = []
    if rule.decide is not None and (way.sums or way.name == "step"):
        last += ["settle(table_, numbers_, LANES_)", "tl.debug_barrier()"]
    if way.apply is not None:
        last.append(f"advance(table_, {layout.record}, LANES_)")
        if way.name == "second" and rule.memory:
            last.append(f"remember(table_, {layout.record}, {len(rule.memory)}, LANES_)")
    if not way.sums:
        return ["if arrives_last(counters_, tl.load(table_ + 3).to(tl.int32)):", *("    " + x for x in last)]
    stride = len(way.sums)
    lines = [
        "place_ = tl.load(record_ + 3)",
        f"partials_ = address(table_, 4) + place_ * {stride}",
        f"mine_ = partials_ + tl.load(chunk_ + 1) * {stride}",
        *(f"tl.store(mine_ + {i}, tl.sum({s}_))" for i, s in enumerate(way.sums)),
        "if arrives_last(counters_ + 1 + tensor_, tl.load(record_ + 4).to(tl.int32)):",
        f"    totals_ = address(table_, 5) + tensor_ * {stride}",
    ]
    for i, _ in enumerate(way.sums):
        made = f"total(partials_ + {i}, {stride}, 0, tl.load(record_ + 4).to(tl.int32), LANES_)"
        lines.append(f"    tl.store(totals_ + {i}, {made})")
    lines.append("    if arrives_last(counters_, tl.load(table_).to(tl.int32)):")
    return [*lines, *("        " + x for x in last)]

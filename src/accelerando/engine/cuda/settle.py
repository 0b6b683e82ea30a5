"""The text of `settle`: what the last program to arrive does with the sums, `decide` for every instance at once."""

from accelerando.engine.anatomy import Rule
from accelerando.engine.cuda.layout import Layout
from accelerando.engine.cuda.text import FRAME, ON_NUMBERS, define, scalar_lines
from accelerando.engine.lowering import Names, render


def settle_source(rule: Rule, alone: bool) -> str:
    """The text; ``alone`` says that no second pass needs the old memory."""
    if rule.decide is None:
        raise AssertionError(rule.name)
    layout, names, sums = Layout(rule), Names(set(FRAME)), list(rule.sums)
    own = [s for s in rule.decide.arguments if s not in rule.sums]
    lines = ["totals_ = address(table_, 5)", "grouped_ = address(table_, 6)"] if sums else []
    lines.append(f"groups_ = table_ + HEADER + tl.load(table_) * {layout.record}")
    lines += _over_groups(rule, sums)
    known = {s: names.fresh(s) for s in rule.decide.arguments if s in rule.sums}
    for s in known:
        if rule.sums[s] == "all":
            found = f"total(totals_ + {sums.index(s)}, {len(sums)}, 0, tl.load(table_), LANES_)"
            lines.append(f"{known[s]} = met({found}, tl.float64, LANES_)")
    lines += ["tl.debug_barrier()", "for i_ in range(0, tl.load(table_ + 2), LANES_):"]
    inner = [
        "k_ = i_ + tl.arange(0, LANES_)",
        "live_ = k_ < tl.load(table_ + 2)",
        f"tensor_ = {'k_' if rule.scope == 'tensor' else 'tl.load(groups_ + k_ * 2, live_, 0)'}",
        f"record_ = table_ + HEADER + tensor_ * {layout.record}",
        "group_ = tl.load(record_ + 1, live_, 0)",
        f"h_ = numbers_ + group_ * {layout.numbers}",
    ]
    for s in known:
        if rule.sums[s] != "all":
            place = (
                f"totals_ + tensor_ * {len(sums)}"
                if rule.sums[s] == "tensor"
                else f"grouped_ + group_ * {len(sums)}"
            )
            load = f"tl.load({place} + {sums.index(s)}, live_, 0, cache_modifier='.cg')"
            inner.append(f"{known[s]} = {load}")
    more, scalars = scalar_lines(rule, own, names, "live_", "tensor_")
    body, made = render(rule.decide, known | scalars, names, ON_NUMBERS)
    inner += [*more, *body, *_stores(rule, made, alone)]
    return define("settle", ["table_", "numbers_"], ["LANES_"], [*lines, *("    " + x for x in inner)])


def _over_groups(rule: Rule, sums: list[str]) -> list[str]:
    """Sums over each group, for those that `decide` asks for."""
    if rule.decide is None:
        raise AssertionError(rule.name)
    wanted = [s for s in sums if rule.sums[s] == "group" and s in rule.decide.arguments]
    lines = ["for j_ in range(0, tl.load(table_ + 1)):"] if wanted else []
    for s in wanted:
        bounds = "tl.load(groups_ + j_ * 2), tl.load(groups_ + j_ * 2 + 1)"
        made = f"total(totals_ + {sums.index(s)}, {len(sums)}, {bounds}, LANES_)"
        lines.append(f"    tl.store(grouped_ + j_ * {len(sums)} + {sums.index(s)}, {made})")
    return lines


def _stores(rule: Rule, made: dict[str, str], alone: bool) -> list[str]:
    lines = []
    if rule.decided and not alone:
        lines.append(f"decided_ = address(table_, 7) + k_ * {len(rule.decided)}")
        lines += [f"tl.store(decided_ + {i}, {made[d]}, live_)" for i, d in enumerate(rule.decided)]
    if rule.memory and not alone:
        lines.append(f"fresh_ = address(table_, 8) + k_ * {len(rule.memory)}")
        lines += [f"tl.store(fresh_ + {i}, {made[m]}, live_)" for i, m in enumerate(rule.memory)]
    if rule.memory and alone:
        start = f"groups_ + tl.load(table_ + 1) * 2 + k_ * {len(rule.memory)}"
        for i, m in enumerate(rule.memory):
            place = f"tl.load({start} + {i}, live_, 0).to(tl.pointer_type(tl.float64))"
            lines.append(f"tl.store({place}, {made[m]}, live_)")
    return lines

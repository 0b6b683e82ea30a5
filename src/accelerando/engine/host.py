"""Rules on the host: `scalars` and `decide` in float64, one number at a time."""

import linecache
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from accelerando.engine.anatomy import Rule
from accelerando.engine.fields import number
from accelerando.engine.lowering import Dialect, Names, render
from accelerando.engine.passes import needed_for

HOST = Dialect(
    "{}",
    {
        "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
        "maximum": "({0} if {0} > {1} or {0} != {0} else {1})",
        "where": "({1} if {0} else {2})",
    },
)
"""A call costs Python more than what is written here does."""


def div(a: float, b: float) -> float:
    """Division as IEEE 754 has it: by zero it is infinite or not a number."""
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def power(a: float, b: float) -> float:
    """``a ** b`` within the reals: infinite where it overflows, not a number where it is complex."""
    try:
        value = a**b
    except OverflowError:
        return math.inf
    except ZeroDivisionError:
        return math.inf
    return value if isinstance(value, float) else math.nan


def sqrt(x: float) -> float:
    """The square root; not a number below zero."""
    return math.sqrt(x) if x >= 0 else math.nan


def exp(x: float) -> float:
    """The exponential; infinite where it overflows."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def log(x: float) -> float:
    """The natural logarithm; -inf at zero, not a number below."""
    if x > 0:
        return math.log(x)
    return -math.inf if x == 0 else math.nan


def sign(x: float) -> float:
    """-1, 0, 1, or not a number."""
    return x if x != x or x == 0 else math.copysign(1.0, x)


def minimum(a: float, b: float) -> float:
    """The smaller number; not a number if either is not."""
    return a if a < b or a != a else b


def maximum(a: float, b: float) -> float:
    """The larger number; not a number if either is not."""
    return a if a > b or a != a else b


def where(condition: bool, a: float, b: float) -> float:
    """``a`` where the condition holds, else ``b``."""
    return a if condition else b


_TABLE = {f.__name__: f for f in (div, power, sqrt, exp, log, sign, minimum, maximum, where)} | {"abs": abs}


Row = Callable[[Mapping[str, Any], float, Mapping[str, float]], tuple[float, ...]]


@cache
def row(rule: Rule) -> Row:
    """``row(h, t, m)``: the scalar table's row for a group ``h`` at parameter age ``t`` with memory ``m``."""
    made: Row = _compile(rule, "row", row_source(rule))
    return made


def row_source(rule: Rule) -> str:
    """The text of `row`."""
    names = Names({"h", "t", "m", "number", *_TABLE})
    environment = {"t": "t"} | {n: f"number(m[{n!r}])" for n in rule.memory}
    lines = []
    scalars = needed_for(rule.scalars, [c for c in rule.columns if c in rule.scalars.results])
    wanted = {*scalars.arguments, *rule.columns}
    for name, text in rule.seen.items():
        if name in wanted:
            environment[name] = names.fresh(name)
            lines.append(f"{environment[name]} = number({text})")
    body, results = render(scalars, environment, names, HOST)
    environment |= results
    returned = "".join(f"{environment[c]}, " for c in rule.columns)
    return _text("row", "h, t, m", [*lines, *body, f"return ({returned})"])


@cache
def decide(rule: Rule) -> Callable[..., tuple[float, ...]]:
    """`decide` as a host function of its arguments by position; it returns its results in order."""
    return _compile(rule, "decide", decide_source(rule))


def decide_source(rule: Rule) -> str:
    """The text of `decide`."""
    if rule.decide is None:
        raise AssertionError(rule.name)
    names = Names({*rule.decide.arguments, *_TABLE})
    lines, results = render(rule.decide, {a: a for a in rule.decide.arguments}, names, HOST)
    lines.append(f"return ({''.join(f'{results[r]}, ' for r in rule.decide.results)})")
    return _text("decide", ", ".join(rule.decide.arguments), lines)


@cache
def ask(
    rule: Rule,
) -> Callable[[Mapping[str, float], tuple[float, ...], Mapping[str, Any]], tuple[float, ...]]:
    """``ask(totals, row, memory)``: `decide` with sums by name, the scalar table's row, and memory by name."""
    if rule.decide is None:
        raise AssertionError(rule.name)
    given = {c: f"row[{k}]" for k, c in enumerate(rule.columns)}
    given |= {n: f"float(memory[{n!r}])" for n in rule.memory} | {n: f"totals[{n!r}]" for n in rule.sums}
    body = f"return decide({', '.join(given[a] for a in rule.decide.arguments)})"
    return _compile(rule, "ask", _text("ask", "totals, row, memory", [body]), decide=decide(rule))


def _text(name: str, arguments: str, lines: list[str]) -> str:
    return f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in lines)


def _compile(rule: Rule, name: str, text: str, **known: Any) -> Callable[..., Any]:
    file = f"<{rule.name}.{name} on the host {id(rule):x}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {**_TABLE, "number": number, **known}
    exec(compile(text, file, "exec"), namespace)  # our own text, from a checked syntax tree
    made: Callable[..., Any] = namespace[name]
    return made

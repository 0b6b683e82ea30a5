"""The passes over memory that a rule takes: what each computes, reads and writes.

A rule that waits for sums over this very step takes two passes, and there are two ways to share the work. *Stored*: the
first pass writes the new buffers and the second makes what `apply` asks for out of them. *Replayed*: the first only sums;
the second computes `direction` once more. The one with fewer accesses is taken; both leave the same bits.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from accelerando.engine.anatomy import Rule
from accelerando.engine.grammar import Function


@dataclass(frozen=True)
class Pass:
    """One sweep over the elements of every tensor."""

    name: Literal["step", "first", "second"]
    direction: Function
    """`direction`, or the part of it that this pass needs."""
    apply: Function | None
    """`apply`, in the pass that writes the parameter."""
    reads: tuple[str, ...]
    """Of ``p``, ``g`` and the buffers, those loaded."""
    writes: tuple[str, ...]
    """Of the buffers and ``p``, those stored."""
    sums: tuple[str, ...]
    """The terms summed in this pass."""

    @property
    def accesses(self) -> int:
        """Loads and stores per element."""
        return len(self.reads) + len(self.writes)


@cache
def passes(rule: Rule, exact: bool = True) -> tuple[Pass, ...]:
    """The passes of ``rule``; ``exact`` says that buffers are stored in the dtype that rules compute in."""
    sums = tuple(rule.sums)
    written = tuple(b for b in rule.buffers if b in {name for name, _ in rule.direction.body})
    taken = tuple(a for a in rule.apply.arguments if a in rule.direction.results)
    if not (sums and rule.when == "now"):
        return (_pass(rule, "step", needed_for(rule.direction, (*taken, *written, *sums)), written, sums, True),)
    whole = needed_for(rule.direction, (*taken, *written))
    replayed = (
        _pass(rule, "first", needed_for(rule.direction, sums), (), sums, False),
        _pass(rule, "second", whole, written, (), True),
    )
    again = from_stored(rule, taken) if exact and not set(rule.apply.arguments) & set(rule.old) else None
    if again is None:
        return replayed
    stored = (
        _pass(rule, "first", needed_for(rule.direction, (*written, *sums)), written, sums, False),
        _pass(rule, "second", again, (), (), True),
    )
    return min(stored, replayed, key=lambda ways: sum(way.accesses for way in ways))


def _pass(
    rule: Rule, name: Literal["step", "first", "second"], direction: Function,
    written: tuple[str, ...], sums: tuple[str, ...], last: bool,
) -> Pass:  # fmt: skip
    asked = set(direction.arguments)
    if last:
        own = set(rule.apply.arguments) - set(direction.results)
        asked |= {rule.old.get(a, a) for a in own}
    reads = tuple(n for n in ("p", "g", *rule.buffers) if n in asked)
    return Pass(name, direction, rule.apply if last else None, reads, (*written, *(["p"] if last else [])), sums)


def needed_for(function: Function, wanted: Iterable[str]) -> Function:
    """The lines of ``function`` that ``wanted`` results depend on, and the arguments those lines ask for."""
    results = tuple(dict.fromkeys(wanted))
    needed = set(results)
    body = []
    for name, value in reversed(function.body):
        if name in needed:
            needed = (needed - {name}) | _names(value)
            body.append((name, value))
    return _part(function, body, results, needed)


def from_stored(rule: Rule, wanted: tuple[str, ...]) -> Function | None:
    """The lines that make ``wanted`` out of the buffers as this step leaves them; None where that cannot be."""
    needed, passed = set(wanted), set[str]()
    body, loaded = [], set[str]()
    for name, value in reversed(rule.direction.body):
        if name in rule.buffers and name not in passed:
            passed.add(name)
            loaded |= needed & {name}
            needed.discard(name)
        elif name in needed:
            needed = (needed - {name}) | _names(value)
            body.append((name, value))
        if needed & passed:
            return None  # a buffer as it was before the step: overwritten by then
    return _part(rule.direction, body, wanted, needed | loaded)


def _part(
    function: Function, body: list[tuple[str, ast.expr]], results: tuple[str, ...], needed: set[str]
) -> Function:
    arguments = tuple(a for a in function.arguments if a in needed)
    return replace(function, arguments=arguments, body=tuple(reversed(body)), results=results)


def _names(value: ast.expr) -> set[str]:
    calls = {id(node.func) for node in ast.walk(value) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(value) if isinstance(node, ast.Name) and id(node) not in calls}

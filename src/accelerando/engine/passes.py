"""The passes over memory that a rule takes: what each computes, reads and writes.

A rule that waits for sums over this very step takes two passes, and there are two ways to share the work. *Stored*:
the first pass writes the new buffers and the second makes what `apply` asks for out of them. *Replayed*: the first
only sums; the second computes `direction` once more. The one with fewer accesses is taken; both leave the same bits.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from accelerando.engine.anatomy import Rule
from accelerando.engine.grammar import Function
from accelerando.engine.slicing import again, reads


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
        return (
            _pass(rule, "step", needed_for(rule.direction, (*taken, *written, *sums)), written, sums, True),
        )
    whole = needed_for(rule.direction, (*taken, *written))
    replayed = (
        _pass(rule, "first", needed_for(rule.direction, sums), (), sums, False),
        _pass(rule, "second", whole, written, (), True),
    )
    from_stored = again(rule) if exact else None
    if from_stored is None:
        return replayed
    stored = (
        _pass(rule, "first", needed_for(rule.direction, (*written, *sums)), written, sums, False),
        _pass(rule, "second", from_stored, (), (), True),
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
    return Pass(
        name, direction, rule.apply if last else None, reads, (*written, *(["p"] if last else [])), sums
    )


def needed_for(function: Function, wanted: Iterable[str]) -> Function:
    """The lines of ``function`` that ``wanted`` results depend on, and the arguments those lines ask for."""
    results = tuple(dict.fromkeys(wanted))
    needed = set(results)
    body = []
    for name, value in reversed(function.body):
        if name in needed:
            needed = (needed - {name}) | set(reads(value))
            body.append((name, value))
    arguments = tuple(a for a in function.arguments if a in needed)
    return replace(function, arguments=arguments, body=tuple(reversed(body)), results=results)

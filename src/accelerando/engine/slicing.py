"""What a second pass needs of the first: recomputed from the stored buffers where that gives the same numbers."""

import ast

from accelerando.engine.anatomy import Rule
from accelerando.engine.grammar import Function


def again(rule: Rule) -> Function | None:
    """The part of `direction` that `apply` needs, as a function of the new buffers; None where it needs the old.

    The second pass then reads the buffers instead of storing what the first pass made of them.
    """
    needed = [a for a in rule.carried if a not in rule.old]
    if len(needed) != len(rule.carried):
        return None
    body = rule.direction.body
    last = {name: k for k, (name, _) in enumerate(body)}
    kept: set[int] = set()
    wanted = [(name, len(body)) for name in needed]
    while wanted:
        name, before = wanted.pop()
        made = max((k for k in range(before) if body[k][0] == name), default=None)
        if name in rule.buffers and made == last.get(name):
            continue  # its final value is what was stored; unchanged buffers are what they were
        if name in rule.buffers:
            return None
        if made is None or made in kept:
            continue
        kept.add(made)
        wanted += [(read, made) for read in reads(body[made][1])]
    chosen = tuple(body[k] for k in sorted(kept))
    written = {name for name, _ in chosen}
    arguments = tuple(dict.fromkeys(n for _, value in chosen for n in reads(value) if n not in written))
    reassigned = written & set(rule.direction.arguments)
    passed = tuple(n for n in needed if n not in written and n not in arguments)
    if reassigned:
        return None
    return Function(rule.name, "again", (*arguments, *passed), chosen, tuple(needed))


def reads(value: ast.expr) -> list[str]:
    """The names of values that an expression uses."""
    calls = {id(node.func) for node in ast.walk(value) if isinstance(node, ast.Call)}
    return [node.id for node in ast.walk(value) if isinstance(node, ast.Name) and id(node) not in calls]

"""A rule taken apart: the functions of a method, and how their names fit together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from accelerando.engine.fields import seen_by_rules
from accelerando.engine.grammar import OPERATIONS, Function, parse
from accelerando.errors import RuleError

Scope = Literal["tensor", "group", "all"]
MEMBERS = ("buffers", "scalars", "direction", "sums", "decide", "memory", "when", "apply")
"""The class attributes that make a rule."""


@dataclass(frozen=True, eq=False)
class Rule:
    """A method without tensors: pure functions and what they ask for.

    Attributes:
        name: the method's name, as messages give it.
        seen: argument name → Python text reading that hyperparameter from a group ``h``.
        buffers: buffer name → its start, ``"zeros"`` or ``"param"``.
        scalars: host numbers made once per step and parameter age, in float64.
        direction: element by element: the direction, new buffers, terms to be summed.
        sums: term → the scope it is summed over.
        decide: sums and memory → scalars and new memory, in float64.
        memory: name → its start, a number or the name of a hyperparameter. Functions see it as it was before this
            step's decision.
        when: ``"now"``, the decision steers this step (made before `direction` where there are no sums);
            ``"next"``, the following one.
        apply: element by element: the new parameter.
    """

    name: str
    seen: Mapping[str, str]
    buffers: Mapping[str, str]
    scalars: Function
    direction: Function
    sums: Mapping[str, Scope]
    decide: Function | None
    memory: Mapping[str, float | str]
    when: Literal["now", "next"]
    apply: Function

    @property
    def two_passes(self) -> bool:
        """Whether the parameter must wait for sums over this very step."""
        return bool(self.sums) and self.when == "now"

    @property
    def decides_first(self) -> bool:
        """Whether `decide` needs no sums and steers this step: it runs before the elementwise functions."""
        return self.decide is not None and not self.sums and self.when == "now"

    @property
    def elementwise(self) -> bool:
        """Whether no element's step depends on another element."""
        return not self.sums

    @cached_property
    def scope(self) -> Scope | None:
        """The narrowest scope summed over: `decide` runs once for each of these; without sums, for each group."""
        scopes: tuple[Scope, ...] = ("tensor", "group", "all")
        narrowest = next((s for s in scopes if s in self.sums.values()), None)
        return "group" if narrowest is None and self.decide is not None else narrowest

    @cached_property
    def waits_for_all(self) -> bool:
        """Whether some sum runs over more than one tensor."""
        return any(scope != "tensor" for scope in self.sums.values())

    @cached_property
    def decided(self) -> tuple[str, ...]:
        """What `decide` returns for this step alone."""
        return tuple(n for n in self.decide.results if n not in self.memory) if self.decide else ()

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """Elementwise values that `apply` takes over from `direction`, buffers apart."""
        made = set(self.direction.results) - set(self.buffers)
        return tuple(a for a in self.apply.arguments if a in made or a in self.old)

    @cached_property
    def old(self) -> dict[str, str]:
        """``old_exp_avg`` → ``exp_avg``: buffers as they were before this step."""
        return {f"old_{b}": b for b in self.buffers}

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The scalars that kernels and `decide` ask for, in the order of the scalar table."""
        elementwise = {"p", "g", *self.buffers, *self.direction.results, *self.old, *self.decided}
        asked = [*self.direction.arguments, *self.apply.arguments]
        if self.decide:
            asked += [a for a in self.decide.arguments if a not in self.sums and a not in self.memory]
        return tuple(dict.fromkeys(a for a in asked if a not in elementwise))

    def arguments_of_scalars(self) -> tuple[str, ...]:
        """Everything `scalars` may ask for, and everything a kernel may ask for without it."""
        return ("t", *self.seen, *self.memory)


def assemble(name: str, parts: Mapping[str, Any], fields: Mapping[str, Any]) -> Rule:
    """Read the members of a method (see `MEMBERS`) and check that they fit together."""
    decide = parts.get("decide")
    rule = Rule(
        name=name,
        seen=seen_by_rules(fields),
        buffers=_buffers(parts["buffers"]),
        scalars=parse(name, "scalars", parts["scalars"]),
        direction=parse(name, "direction", parts["direction"], first="u"),
        sums=dict(parts["sums"]),
        decide=parse(name, "decide", decide) if decide else None,
        memory=dict(parts["memory"]),
        when=parts["when"],
        apply=parse(name, "apply", parts["apply"], first="p"),
    )
    _check_names(rule)
    _check_results(rule)
    _check_arguments(rule)
    return rule


def _buffers(declared: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    return dict(declared) if isinstance(declared, Mapping) else dict.fromkeys(declared, "zeros")


def _check_names(rule: Rule) -> None:
    owners = [
        ("the engine", ("p", "g", "u", "t", "step", "remainder")),
        ("hyperparameters", rule.seen),
        ("buffers", rule.buffers),
        ("scalars", rule.scalars.results),
        ("sums", rule.sums),
        ("memory", rule.memory),
        ("decide", rule.decided),
    ]
    taken: dict[str, str] = {}
    for owner, names in owners:
        for n in names:
            if n.endswith("_") or n in (*OPERATIONS, "F", "np", "like", "number", "div", "power"):
                raise RuleError(
                    f"{rule.name}: {n!r} of {owner} is a name that generated code uses; give it another name"
                )
            if n in taken:
                raise RuleError(f"{rule.name}: {n!r} of {owner} is taken by {taken[n]}; give it another name")
            taken[n] = owner
    for buffer, start in rule.buffers.items():
        if start not in ("zeros", "param"):
            raise RuleError(f"{rule.name}: buffer {buffer!r} must start as 'zeros' or 'param', got {start!r}")
    for term, scope in rule.sums.items():
        if scope not in ("tensor", "group", "all"):
            raise RuleError(
                f"{rule.name}: sum {term!r} must run over 'tensor', 'group' or 'all', got {scope!r}"
            )
    for n, begin in rule.memory.items():
        if isinstance(begin, str) and begin not in rule.seen:
            raise RuleError(f"{rule.name}: memory {n!r} starts at {begin!r}, which is no hyperparameter")
    if rule.when not in ("now", "next"):
        raise RuleError(f"{rule.name}: when must be 'now' or 'next', got {rule.when!r}")


def _check_results(rule: Rule) -> None:
    _, *rest = rule.direction.results
    place = rule.direction.place
    for needed in (*rule.buffers, *rule.sums):
        if needed not in rest:
            raise RuleError(
                f"{place}: must return {needed!r}; it returns {', '.join(rule.direction.results)}"
            )
    if rule.apply.results != ("p",):
        raise RuleError(f"{rule.apply.place}: must return the new parameter alone")
    if rule.sums and not rule.decide:
        raise RuleError(f"{rule.name}: sums are made for decide, which is missing")
    if rule.decide:
        if missing := [m for m in rule.memory if m not in rule.decide.results]:
            raise RuleError(f"{rule.decide.place}: must return the memory {missing[0]!r}")
        if rule.when == "next" and rule.decided:
            raise RuleError(
                f"{rule.decide.place}: {rule.decided[0]!r} would be lost before the next step; declare it as memory"
            )
    elif rule.memory:
        raise RuleError(f"{rule.name}: memory needs decide, which keeps it")


def _check_arguments(rule: Rule) -> None:
    host = {"t", *rule.seen, *rule.memory}
    numbers = host | set(rule.scalars.results)
    early = {"p", "g", *rule.buffers} | numbers | (set(rule.decided) if rule.decides_first else set())
    late = early | set(rule.direction.results) | set(rule.old) | set(rule.decided)
    pairs: list[tuple[Function, set[str]]] = [
        (rule.scalars, host), (rule.direction, early), (rule.apply, late - set(rule.sums)),
    ]  # fmt: skip
    if rule.decide:
        pairs.append((rule.decide, numbers | set(rule.sums)))
    for function, known in pairs:
        for argument in function.arguments:
            if argument not in known:
                names = ", ".join(sorted(known))
                raise RuleError(f"{function.place}: there is no {argument!r} to pass; it can ask for {names}")

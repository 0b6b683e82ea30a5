"""From a checked function to source text for one backend: every value named once, every literal typed.

A backend supplies a `Dialect`. Division, power and the listed operations become calls into its operation
table,
so that IEEE semantics are the table's business and the same line of a rule means the same number everywhere.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from accelerando.engine.grammar import OPERATIONS, Function


@dataclass(frozen=True)
class Dialect:
    """How a backend writes a literal."""

    literal: str
    """A format with one field: ``f({})`` writes 0.5 as ``f(0.5)``."""
    inline: Mapping[str, str] = field(default_factory=dict)
    """Operation → how it is written out, where what it would write twice is a name or a literal."""


@dataclass
class Names:
    """Every emitted name is assigned once; a second use of a name gets a number."""

    taken: set[str] = field(default_factory=set)

    def fresh(self, name: str) -> str:
        """``name``, or ``name2``, ``name3``… where it is taken."""
        candidate, count = name, 1
        while candidate in self.taken:
            count += 1
            candidate = f"{name}{count}"
        self.taken.add(candidate)
        return candidate


def render(
    function: Function, environment: Mapping[str, str], names: Names, dialect: Dialect
) -> tuple[list[str], dict[str, str]]:
    """The function's lines, and the emitted name of each of its results.

    ``environment`` maps the function's arguments to names already emitted.
    """
    scope = {argument: environment[argument] for argument in function.arguments}
    lines = []
    for name, value in function.body:
        text = _Writer(scope, dialect).write(value)
        scope[name] = names.fresh(name)
        lines.append(f"{scope[name]} = {text}")
    return lines, {name: scope[name] for name in function.results}


_SYMBOL: dict[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_CALL: dict[type, str] = {ast.Div: "div", ast.Pow: "power"}


class _Writer:
    """Writes an expression; the parentheses of the source tree are kept, so no rounding is reordered."""

    def __init__(self, scope: Mapping[str, str], dialect: Dialect) -> None:
        self.scope, self.dialect = scope, dialect

    def write(self, node: ast.expr) -> str:
        text = self._write(node)
        return text[1:-1] if isinstance(node, (ast.BinOp, ast.Compare)) and text.startswith("(") else text

    def _write(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=value):
                return self.dialect.literal.format(repr(float(value)))  # type: ignore[arg-type]
            case ast.Name(id=name):
                return self.scope[name]
            case ast.UnaryOp(operand=operand):
                return f"(-{self._write(operand)})"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _CALL:
                return self._call(_CALL[type(op)], [left, right])
            case ast.BinOp(left=left, op=op, right=right):
                return f"({self._write(left)} {_SYMBOL[type(op)]} {self._write(right)})"
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return f"({self._write(left)} {_SYMBOL[type(op)]} {self._write(right)})"
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in OPERATIONS:
                return self._call(name, arguments)
        raise AssertionError(ast.dump(node))

    def _call(self, name: str, arguments: list[ast.expr]) -> str:
        inline, texts = self.dialect.inline.get(name), [self._write(a) for a in arguments]
        if inline is not None and all(
            text.isidentifier() or isinstance(node, ast.Constant) or inline.count(f"{{{k}}}") == 1
            for k, (node, text) in enumerate(zip(arguments, texts, strict=True))
        ):
            return inline.format(*texts)
        return f"{name}({', '.join(self.write(a) for a in arguments)})"

"""The rule grammar: what the functions of a method may say, checked when its class is made."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from accelerando.errors import RuleError

OPERATIONS = ("sqrt", "exp", "log", "abs", "sign", "minimum", "maximum", "where")
"""The functions a rule may call."""

_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.BitAnd, ast.BitOr)
_COMPARE = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_ADVICE = (
    "use assignments to names, numbers, + - * / **, one comparison at a time, & and |, and calls to "
    + ", ".join(OPERATIONS)
)


@dataclass(frozen=True, eq=False)
class Function:
    """One function of a rule: straight-line code whose arguments and results bind by name."""

    owner: str
    name: str
    arguments: tuple[str, ...]
    body: tuple[tuple[str, ast.expr], ...]
    """Assignments, in order: the name and what it is made of."""
    results: tuple[str, ...]

    @property
    def place(self) -> str:
        """``Owner.function``, as messages name it."""
        return f"{self.owner}.{self.name}"


def parse(owner: str, name: str, function: Callable[..., Any], first: str | None = None) -> Function:
    """Read ``function`` and check that it stays inside the grammar.

    ``first`` names the first result where the function returns an expression for it.
    Raises `RuleError`, naming the construct and its line, if the function leaves the grammar.
    """
    return _Reader(owner, name, first).read(function)


class _Reader:
    def __init__(self, owner: str, name: str, first: str | None) -> None:
        self.place, self.owner, self.name, self.first = f"{owner}.{name}", owner, name, first
        self.known: set[str] = set()
        self.body: list[tuple[str, ast.expr]] = []

    def read(self, function: Callable[..., Any]) -> Function:
        tree = self._tree(function)
        arguments = tree.args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults:
            raise RuleError(f"{self.place}: takes plain positional arguments only; they are bound by name")
        names = tuple(a.arg for a in [*arguments.posonlyargs, *arguments.args])
        self.known |= set(names)
        *statements, last = self._without_docstring(tree.body) or [ast.Pass()]
        for statement in statements:
            self._assign(statement)
        if not isinstance(last, ast.Return) or last.value is None:
            self._refuse(last, "the end without `return`")
        results = self._results(last.value)
        return Function(self.owner, self.name, names, tuple(self.body), results)

    def _tree(self, function: Callable[..., Any]) -> ast.FunctionDef:
        try:
            source = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError) as error:
            way_out = "write the class in a file, so that its source can be read"
            raise RuleError(f"{self.place}: its source is out of reach ({error}); {way_out}") from None
        tree = ast.parse(source).body[0]
        if not isinstance(tree, ast.FunctionDef):
            self._refuse(tree, "a lambda" if not isinstance(tree, ast.AsyncFunctionDef) else "async def")
        return tree

    @staticmethod
    def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
        head = body[0]
        if (
            isinstance(head, ast.Expr)
            and isinstance(head.value, ast.Constant)
            and isinstance(head.value.value, str)
        ):
            return body[1:]
        return body

    def _assign(self, statement: ast.stmt) -> None:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            self._refuse(statement)
        target, value = statement.targets[0], statement.value
        if not isinstance(target, ast.Name):
            self._refuse(target)
        self._expression(value)
        self.body.append((target.id, value))
        self.known.add(target.id)

    def _results(self, value: ast.expr) -> tuple[str, ...]:
        items = value.elts if isinstance(value, ast.Tuple) else [value]
        named = items and isinstance(items[0], ast.Name) and items[0].id == self.first
        if self.first is not None and items and not named:
            self._expression(items[0])
            self.body.append((self.first, items[0]))
            items = [ast.Name(self.first, ast.Load()), *items[1:]]
            self.known.add(self.first)
        names = []
        for item in items:
            if not isinstance(item, ast.Name):
                self._refuse(item, f"returning {ast.unparse(item)!r}, which has no name,")
            self._expression(item)
            names.append(item.id)
        return tuple(names)

    def _expression(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=bool() | str() | None):
                self._refuse(node)
            case ast.Constant(value=int() | float()):
                pass
            case ast.Name(id=name):
                if name not in self.known:
                    raise RuleError(
                        f"{self.place}: {name!r} is neither an argument nor assigned before line {node.lineno}"
                    )
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _BINARY):
                self._expression(left)
                self._expression(right)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                self._expression(operand)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, _COMPARE):
                self._expression(left)
                self._expression(right)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in OPERATIONS:
                for argument in arguments:
                    self._expression(argument)
            case _:
                self._refuse(node)

    def _refuse(self, node: ast.AST, what: str | None = None) -> NoReturn:
        kind = type(node).__name__
        what = what or f"{kind} {ast.unparse(node)!r}"
        line = getattr(node, "lineno", 1)
        raise RuleError(
            f"{self.place}: {what} is outside the rule grammar (line {line} of the function); {_ADVICE}"
        )

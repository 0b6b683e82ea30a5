"""Schedules written as text, for files and command lines: ``warmup(500) >> cosine(20_000, final=0.1)``."""

import ast
from collections.abc import Callable
from typing import Any, NoReturn

from accelerando.errors import HyperparameterError
from accelerando.schedules.base import Schedule, create, names, registry

METHODS = ("repeat", "clip", "take")


def parse(text: str) -> Schedule:
    """The schedule a text describes.

    The text is what ``repr`` prints: names of schedules called with literal arguments, ``*``, ``>>``,
    numbers, ``.repeat()``, ``.clip()`` and ``.take()``. Nothing is executed. A name alone is a call without
    arguments.

    Raises:
        HyperparameterError: the text is not such an expression, or a value is out of range.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as wrong:
        raise HyperparameterError(f"schedules.parse: {text!r} cannot be read: {wrong}") from wrong
    value = _Reader(text).read(tree)
    if not isinstance(value, Schedule):
        raise HyperparameterError(f"schedules.parse: {text!r} is {value!r}, not a schedule")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, node: ast.expr) -> Any:
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.RShift)):
            return self._operation(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Name):
            return create(node.id)
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError):
            self._refuse(node)
        return tuple(value) if isinstance(value, list) else value

    def _operation(self, node: ast.BinOp) -> Any:
        left, right = self.read(node.left), self.read(node.right)
        try:
            return left * right if isinstance(node.op, ast.Mult) else left >> right
        except TypeError:
            self._refuse(node)

    def _call(self, node: ast.Call) -> Any:
        function = self._function(node.func)
        arguments = [self.read(item) for item in node.args]
        options = {str(item.arg): self.read(item.value) for item in node.keywords}
        try:
            return function(*arguments, **options)
        except TypeError as wrong:
            place = ast.get_source_segment(self.text.strip(), node)
            raise HyperparameterError(f"schedules.parse: {place}: {wrong}") from wrong

    def _function(self, node: ast.expr) -> Callable[..., Any]:
        if isinstance(node, ast.Name):
            if node.id not in registry:
                create(node.id)
            return registry[node.id]
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("warmup", "untuned"):
                return registry["untuned_warmup"]
            owner = self.read(node.value)
            if isinstance(owner, Schedule) and node.attr in METHODS:
                method: Callable[..., Any] = getattr(owner, node.attr)
                return method
        self._refuse(node)

    def _refuse(self, node: ast.expr) -> NoReturn:
        place = ast.get_source_segment(self.text.strip(), node) or self.text
        raise HyperparameterError(
            f"schedules.parse: {place!r} in {self.text!r} is not a schedule; write one of "
            f"{', '.join(names())} with numbers and texts, joined by * or >>"
        )

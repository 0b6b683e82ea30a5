"""Strategies as data: ``adam+cosine``, ``timm.optim:Lamb(weight_decay=0.01)+cosine``; read, never evaluated.

The grammar: an optimizer, then any number of schedules joined by ``+``; each may carry keyword options in
parentheses, whose values are Python literals.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from accelerando.errors import SpecError

_OPTIMIZER = re.compile(r"[A-Za-z_]\w*(\.\w+)*(:[A-Za-z_]\w*(\.\w+)*)?\Z")
_SCHEDULE = re.compile(r"[A-Za-z_]\w*\Z")
_OPENERS, _CLOSERS = "([{", ")]}"

DEFAULTS = (
    "adam",
    "adam+cosine",
    "adam+plateau",
    "adam+cyclic",
    "adamw+cosine",
    "radam",
    "adabelief",
    "lamb",
    "lamb+cyclic",
    "sgd",
    "accelerando",
)
"""What ``accelerando compare`` runs when no strategy is named."""


@dataclass(frozen=True)
class Part:
    """A name with keyword options: an optimizer or a schedule."""

    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}({', '.join(f'{key}={self.options[key]!r}' for key in sorted(self.options))})"


@dataclass(frozen=True)
class Strategy:
    """An optimizer and the schedules laid over it.

    Attributes:
        optimizer: A short name (``adam``) or ``module:Class``, with its options.
        schedules: Laid over each other in order; their factors multiply.
    """

    optimizer: Part
    schedules: tuple[Part, ...] = ()

    @property
    def name(self) -> str:
        """The one way this strategy is written: options sorted, no spaces round ``+``."""
        return "+".join(map(str, (self.optimizer, *self.schedules)))


def parse(text: str) -> Strategy:
    """Read a strategy.

    Args:
        text: ``OPTIMIZER[(key=literal, …)][+SCHEDULE[(key=literal, …)]]…``

    Raises:
        SpecError: The text is not in that grammar; says where and what to write.

    Example:
        >>> parse("timm.optim:Lamb( weight_decay=0.01 ) + cosine").name
        'timm.optim:Lamb(weight_decay=0.01)+cosine'
    """
    first, *rest = (_part(piece.strip(), text) for piece in _split(text))
    if not _OPTIMIZER.match(first.name):
        raise SpecError(f"strategy {text!r}: {first.name!r} names no optimizer; write adam or module:Class")
    for part in rest:
        if not _SCHEDULE.match(part.name):
            raise SpecError(
                f"strategy {text!r}: {part.name!r} names no schedule; write cosine, cyclic(cycles=4), …"
            )
    return Strategy(first, tuple(rest))


def _split(text: str) -> list[str]:
    """Cut at every ``+`` outside brackets and quotes, so that ``lr=1e+1`` stays whole."""
    pieces, depth, start, quote = [], 0, 0, ""
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _OPENERS + _CLOSERS:
            depth += 1 if character in _OPENERS else -1
        elif character == "+" and depth == 0:
            pieces.append(text[start:place])
            start = place + 1
    return [*pieces, text[start:]]


def _part(piece: str, text: str) -> Part:
    name, bracket, _ = piece.partition("(")
    name = name.strip()
    if not name:
        raise SpecError(f"strategy {text!r}: a name is missing; write OPTIMIZER(key=value)+SCHEDULE")
    if not bracket:
        return Part(name, MappingProxyType({}))
    try:
        call = ast.parse("f" + piece[piece.index("(") :], mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise SpecError(
            f"strategy {text!r}: cannot read the options of {name!r}; write {name}(key=value)"
        ) from error
    if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
        raise SpecError(f"strategy {text!r}: options are keywords; write {name}(key=value, …)")
    keys = [word.arg for word in call.keywords]
    if len(set(keys)) < len(keys):
        raise SpecError(f"strategy {text!r}: an option of {name!r} is given twice; give it once")
    return Part(
        name, MappingProxyType({_key(word, name, text): _literal(word, name, text) for word in call.keywords})
    )


def _key(word: ast.keyword, name: str, text: str) -> str:
    if word.arg is None:
        raise SpecError(f"strategy {text!r}: options of {name!r} are written out; ** is not read")
    return word.arg


def _literal(word: ast.keyword, name: str, text: str) -> Any:
    try:
        value = ast.literal_eval(word.value)
        ast.literal_eval(repr(value))  # 1e999 is read as infinity, which has no literal
        return value
    except (ValueError, TypeError) as error:
        shown = ast.unparse(word.value)
        raise SpecError(
            f"strategy {text!r}: {word.arg} of {name!r} must be a Python literal (a number, text, tuple), "
            f"got {shown}"
        ) from error

"""Every sentence of the report, one table per language, with the same keys and the same places for values."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from .en import MESSAGES as _ENGLISH
from .tasks_zh import TEXTS as _TASKS
from .zh import MESSAGES as _CHINESE

Language: TypeAlias = Literal["en", "zh"]

TABLES: dict[Language, dict[str, str]] = {"en": _ENGLISH, "zh": _CHINESE}


class Words:
    """Says a message in one language.

    >>> Words("en")("verdict.worse")
    'worse'
    """

    def __init__(self, lang: Language) -> None:
        self.lang = lang
        self._table = TABLES[lang]

    def __call__(self, key: str, **values: object) -> str:
        """The message of that key with its values in their places; escaping is the caller's business."""
        return self.fill(key, values)

    def task(self, text: str) -> str:
        """A task's title or description: a bundled one in this language, a user's own as it is."""
        return _TASKS.get(text, text) if self.lang == "zh" else text

    def fill(self, key: str, values: Mapping[str, object]) -> str:
        """The same with the values in a mapping."""
        return self._table[key].format_map(values).replace(" %", "\N{NO-BREAK SPACE}%")

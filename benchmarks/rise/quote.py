"""Numbers in a text, each with the key of the record it comes from: ``<!--=adam.most-->12<!--/-->``."""

import re
from collections.abc import Iterator, Mapping

GUIDES = ("does-it-rise.md", "does-it-rise.zh-CN.md")
QUOTED = re.compile(r"<!--=([\w.-]+)-->(.*?)<!--/-->")
NUMBER = re.compile(r"(?<![\w.`/-])\d+\.\d+|(?<![\w.`/-])\d+(?=\s?×)")
"""What looks like a measured number: with a decimal point, or a factor."""

Answers = Mapping[str, Mapping[str, str]]


def filled(text: str, answers: Answers) -> str:
    """The text with every quoted number as the record has it."""
    return QUOTED.sub(lambda m: f"<!--={m[1]}-->{_said(m[1], answers)}<!--/-->", text)


def quotes(text: str) -> Iterator[tuple[str, str]]:
    """Each key, and the number written after it."""
    return ((m[1], m[2]) for m in QUOTED.finditer(text))


def unquoted(text: str) -> list[str]:
    """Numbers that come from nowhere."""
    rest = QUOTED.sub("", text)
    return NUMBER.findall(re.sub(r"`[^`]*`|\]\([^)]*\)|```.*?```", "", rest, flags=re.DOTALL))


def _said(key: str, answers: Answers) -> str:
    question, _, rest = key.partition(".")
    return answers[question][rest]

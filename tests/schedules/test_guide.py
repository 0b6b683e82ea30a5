"""Every example in the guide and in a docstring runs and prints what it says."""

import doctest
from pathlib import Path

import pytest

from accelerando.schedules import scheduled


def test_the_guide():
    text = (Path(__file__).parents[2] / "docs/guide/schedules.md").read_text(encoding="utf-8")
    example = doctest.DocTestParser().get_doctest(text.replace("```", "\n"), {}, "schedules.md", None, 0)
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert results.attempted >= 25 and results.failed == 0


@pytest.mark.parametrize("module", [scheduled])
def test_docstrings(module):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed

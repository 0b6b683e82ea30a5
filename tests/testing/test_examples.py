"""The examples in the battery's docstrings and in its guide run."""

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import accelerando.testing

MODULES = [accelerando.testing.__name__] + [
    found.name for found in pkgutil.walk_packages(accelerando.testing.__path__, "accelerando.testing.")
]
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "conformance.md"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(import_module(name)).failed == 0


def test_the_guide(capsys):
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert "RAdam: " in capsys.readouterr().out

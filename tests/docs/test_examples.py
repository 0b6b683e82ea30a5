"""Every example in the docstrings of the methods and the engine, and in the READMEs, runs."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import accelerando.engine
import accelerando.optim
from accelerando import optim

ROOT = Path(__file__).parents[2]
MODULES = [
    f"{package.__name__}.{found.name}"
    for package in (accelerando.optim, accelerando.engine)
    for found in pkgutil.iter_modules(package.__path__)
] + ["accelerando.optim"]
BLOCKS = [
    (name, number, text)
    for name in ("README.md", "README.zh-CN.md")
    for number, text in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", optim.list())
def test_every_method_has_an_example(name):
    assert ">>>" in (getattr(accelerando, name).__doc__ or "")


@pytest.mark.parametrize(("name", "number", "text"), BLOCKS, ids=lambda x: str(x)[:12])
def test_readme_blocks(name, number, text, tmp_path, monkeypatch):
    file = tmp_path / f"block_{number}.py"
    file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_readmes_are_in_step():
    english, chinese = (
        re.findall(r"```\w*\n.*?```", (ROOT / n).read_text(encoding="utf-8"), re.DOTALL)
        for n in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese

"""The pages on the lens: their examples run, their tables are complete, their numbers are in the record."""

import json
import re
import sys
from pathlib import Path

import pytest

from accelerando.lens.codes import CODES
from accelerando.lens.recipes import CAUSES
from accelerando.lens.rows import NUMBERS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.rise import quote  # noqa: E402

LENS = (ROOT / "docs/guide/lens.md").read_text(encoding="utf-8")
RECORD = json.loads((ROOT / "benchmarks/results/does_it_rise.json").read_text(encoding="utf-8"))
TEXTS = {name: (ROOT / "docs/guide" / name).read_text(encoding="utf-8") for name in quote.GUIDES}


def test_the_examples_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", LENS, re.DOTALL)
    assert len(blocks) == 4
    names = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, "lens.md", "exec"), names)
    assert (tmp_path / "lens.html").exists()


def test_the_query_runs(tmp_path, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    first = re.search(r"```python\n(.*?)```", LENS, re.DOTALL)[1]
    exec(compile(first, "lens.md", "exec"), {"__name__": "guide"})
    query = re.search(r"```sql\n(.*?)```", LENS, re.DOTALL)[1]
    assert {row[0] for row in duckdb.sql(query).fetchall()} == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_every_field_cause_and_code_is_explained():
    for name in NUMBERS:
        assert f"`{name}`" in LENS
    for cause in CAUSES:
        assert f"`{cause.replace(' ', '_')}`" in LENS
    for code, known in CODES.items():
        assert f"| {code} | {known.title} |" in LENS


@pytest.mark.parametrize("name", quote.GUIDES)
def test_every_number_is_in_the_record(name):
    found = list(quote.quotes(TEXTS[name]))
    assert len(found) > 80
    for key, value in found:
        question, _, rest = key.partition(".")
        assert RECORD["answers"][question][rest] == value, key
    assert quote.unquoted(TEXTS[name]) == []


def test_the_two_languages_say_the_same_numbers_and_show_the_same_figures():
    english, chinese = (TEXTS[name] for name in quote.GUIDES)
    assert sorted(quote.quotes(english)) == sorted(quote.quotes(chinese))
    figures = [re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text) for text in (english, chinese)]
    assert figures[0] == figures[1] and len(figures[0]) == 7
    assert all((ROOT / "docs/guide" / path).exists() for path in figures[0])


def test_the_numbers_without_a_source_are_found():
    assert quote.unquoted("it rose 3.4 times, or 12 ×, or `5.5`, or <!--=adam.most-->7.7<!--/-->") == [
        "3.4",
        "12",
    ]

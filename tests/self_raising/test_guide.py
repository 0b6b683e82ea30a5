"""The first contact of the guide, as a reader meets it."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "self-raising.md"


def test_a_users_first_contact(capsys):
    contact, endless = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(contact, str(GUIDE), "exec"), names)
    *rows, found = capsys.readouterr().out.splitlines()
    exec(compile(endless, str(GUIDE), "exec"), names)
    assert float(capsys.readouterr().out.split()[-1]) < 0.2
    assert [row.split()[1] for row in rows] == sorted(
        (row.split()[1] for row in rows), key=["probe", "rise", "settle"].index
    )
    assert {row.split()[1] for row in rows} == {"probe", "rise", "settle"}
    assert float(found.split()[-1]) < 0.2
    assert 0.003 < float(found.split()[1].rstrip(";")) < 0.1


def test_the_pictures_are_there():
    text = GUIDE.read_text(encoding="utf-8")
    for place in re.findall(r"\]\(([^)]+\.(?:png|md))\)", text):
        assert (GUIDE.parent / place).resolve().is_file(), place


def test_its_numbers_are_the_reports():
    """Every row of the guide's table is one of the report's development set."""
    report = GUIDE.parents[2] / "benchmarks" / "results" / "self_raising" / "report.md"
    judged = report.read_text(encoding="utf-8").split("## Locked set")[0].splitlines()
    rows = [line for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) > 5
    assert set(rows) <= set(judged)

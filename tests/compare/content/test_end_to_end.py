"""Two bundled tasks compared for real, reported, and put side by side by the command."""

import pytest
from click.testing import CliRunner

from accelerando.cli.group import accelerando


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = []
    for task in ("diabetes", "noisy-quadratic"):
        folder = tmp_path_factory.mktemp("runs") / task
        options = ["-s", "sgd", "-s", "adamw", "--lrs", "1e-2,1e-1", "--seeds", "6", "--steps", "20"]
        result = CliRunner().invoke(accelerando, ["compare", task, *options, "--out", str(folder)])
        assert result.exit_code == 0, result.output
        made.append(folder)
    return made


def test_a_comparison_ends_with_its_report(folders):
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert {
            "report.html",
            "report.md",
            "timing.json",
            "robustness.png",
            "curves.png",
            "rates.png",
        } <= names
        assert "sgd" in (folder / "report.md").read_text(encoding="utf-8")


def test_reporting_again_changes_no_result(folders, tmp_path):
    before = (folders[0] / "report.md").read_bytes()
    result = CliRunner().invoke(accelerando, ["report", str(folders[0]), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "report.md").read_bytes() == before


def test_several_folders_make_profiles(folders, tmp_path):
    result = CliRunner().invoke(accelerando, ["report", *map(str, folders), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "profiles.md").read_text(encoding="utf-8")
    assert "| sgd |" in text and "| adamw |" in text
    assert (tmp_path / "profiles.png").stat().st_size > 1000
    twice = CliRunner().invoke(accelerando, ["report", str(folders[0]), str(folders[0])])
    assert twice.exit_code == 1 and "two or more different tasks" in twice.output

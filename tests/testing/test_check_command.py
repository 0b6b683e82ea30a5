"""``accelerando check`` from the shell's side."""

import json

import pytest
from click.testing import CliRunner

from accelerando.cli.group import accelerando


def check(*arguments):
    return CliRunner().invoke(accelerando, ["check", *arguments])


def test_exit_code_0_where_nothing_failed():
    result = check("torch.optim:SGD", "-c", "C03", "-c", "C28")
    assert result.exit_code == 0
    assert "SGD: 0 of 2 checks failed" in result.output


def test_exit_code_1_where_something_failed():
    result = check("torch.optim:AdamW", "-c", "C25", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["findings"][0]["code"] == "C25"


def test_options_reach_the_constructor():
    result = check("torch.optim:SGD", "-c", "C28", "-o", "momentum=0.9", "-o", "nesterov=true", "--json")
    assert json.loads(result.output)["options"] == {"momentum": 0.9, "nesterov": True}


def test_another_papers_name():
    result = check("torch.optim:AdamW", "-c", "P01", "--paper", "adam", "--json")
    assert (
        "departs from the paper" in json.loads(result.output)["findings"][0]["sentence"] or result.exit_code
    )


def test_a_module_of_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "mine_alone.py").write_text("from torch.optim import SGD as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert check("mine_alone:Mine", "-c", "C28").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["torch.optim"], "must name both, got 'torch.optim'"),
        (["torch.optim:AdamV"], "cannot load 'torch.optim:AdamV'"),
        (["no_such_module:X"], "No module named 'no_such_module'"),
        (["torch.optim:__name__"], "must be a class or a function, got str"),
        (["torch.optim:SGD", "-c", "Z01"], "no check is called 'Z01'"),
        (["torch.optim:SGD", "-o", "momentum"], "must be NAME=VALUE, got 'momentum'"),
        (["torch.optim:SGD", "--paper", "nadam"], "no paper is called 'nadam'"),
    ],
)
def test_a_wrong_call_says_why(arguments, message):
    result = check(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())

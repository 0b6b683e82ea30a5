import re
from dataclasses import fields
from pathlib import Path

import torch

from accelerando.compare import journal
from accelerando.compare import spec as specs
from accelerando.compare.plan import EXTENSIONS, READINGS
from accelerando.compare.records import Outcome, Trial
from accelerando.compare.resolve import resolve
from accelerando.compare.run import RETRIES
from accelerando.compare.schedule import PLATEAU_CHECKS, SCHEDULES
from accelerando.compare.trial import LOSSES, run

GUIDE = Path(__file__).parents[3] / "docs" / "guide"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (GUIDE / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_users_task_of_the_guide_trains(tmp_path):
    (code,) = blocks("your-own-task.md", "python")
    path = tmp_path / "train_of_the_guide.py"
    path.write_text(code)
    resolved = resolve(f"{path}:task")
    trial = Trial("t", resolved.hash, "torch.optim:Adam", 1e-2, 0, "tune", resolved.task.steps, "cpu", ())
    outcome = run(trial, resolved)
    assert outcome.status == "done", outcome.message
    assert outcome.final["loss"] < outcome.evals[0][1]["loss"]
    assert len(code[code.index("def batches") :].splitlines()) <= 15
    assert torch.is_grad_enabled()


def test_the_toml_of_the_guide_is_read(tmp_path):
    (text,) = blocks("compare.md", "toml")
    (tmp_path / "experiment.toml").write_text(text)
    words = specs.from_toml(tmp_path / "experiment.toml")
    assert set(words) == {field.name for field in fields(specs.Spec)}
    specs.made(words)


def test_the_guide_says_the_formats_numbers_and_names():
    text = (GUIDE / "compare.md").read_text(encoding="utf-8")
    for words in (
        journal.FORMAT,
        f"up to {RETRIES} times",
        f"looked at {LOSSES} times",
        f"reads {READINGS} steps",
    ):
        assert words in text, words
    assert f"N/{PLATEAU_CHECKS}" in text
    assert f"at most {('zero', 'one', 'two')[EXTENSIONS]}" in " ".join(text.split())
    for name in SCHEDULES:
        assert f"| `{name}` |" in text
    for field in fields(Outcome):
        if field.name not in ("trial", "evals", "losses", "rates"):
            assert f"`{field.name}`" in text, field.name
    identity = text[text.index("`ID` is the first") : text.index("`versions` has")]
    assert all(field.name in identity for field in fields(Trial))

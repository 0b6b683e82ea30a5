"""A user's own task: what it must say, and what its identity covers."""

import doctest
import importlib.util
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

import accelerando.compare.task
from accelerando.compare.fingerprint import fingerprint
from accelerando.compare.task import Task
from accelerando.errors import TaskError

SOURCE = """
import torch
from accelerando.compare.task import Task

def batches(seed):
    stream = torch.Generator().manual_seed(seed)
    while True:
        yield (torch.randn(4, 2, generator=stream),)

def loss(model, batch):
    return model(batch[0]).square().mean()

class Evaluate:
    def __call__(self, model):
        return {"loss": float(model(torch.ones(1, 2)))}

def task():
    return Task("mine", lambda: torch.nn.Linear(2, 1), batches, loss, Evaluate(), 10, files=FILES)
"""


def made(folder, files=(), source=SOURCE, name="train"):
    path = folder / f"{name}.py"
    path.write_text(source.replace("FILES", repr(files)))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.task()


def plain(**changes):
    fields = {
        "name": "plain",
        "model": lambda: torch.nn.Linear(1, 1),
        "batches": lambda seed: iter(()),
        "loss": lambda model, batch: torch.zeros(()),
        "evaluate": lambda model: {"loss": 0.0},
        "steps": 1,
    }
    return Task(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "name must be a text that is not empty"),
        ({"model": torch.nn.Linear(1, 1)}, r"model must make a fresh model .*write model=lambda: Linear\("),
        ({"loss": 3}, "loss must be a function, got int; pass the function itself"),
        ({"steps": 0}, "steps must be a whole number >= 1, got 0"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"files": "data.csv"}, "files must be a tuple of paths, got 'data.csv'"),
    ],
)
def test_a_wrong_field_is_named(changes, message):
    with pytest.raises(TaskError, match=message):
        plain(**changes)


def test_moving_the_files_keeps_the_identity(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text("1,2")
    here = fingerprint(made(tmp_path / "here", ("data.csv",)))
    assert here == fingerprint(made(tmp_path / "there", ("data.csv",)))


def test_a_changed_byte_of_source_or_data_changes_the_identity(tmp_path):
    (tmp_path / "data.csv").write_text("1,2")
    first = fingerprint(made(tmp_path, ("data.csv",)))
    (tmp_path / "data.csv").write_text("1,3")
    second = fingerprint(made(tmp_path, ("data.csv",)))
    third = fingerprint(made(tmp_path, ("data.csv",), SOURCE + "\n# a comment\n"))
    assert len({first, second, third}) == 3


def test_the_number_of_steps_is_not_part_of_it_but_the_name_is(tmp_path):
    task = made(tmp_path)
    assert fingerprint(replace(task, steps=99)) == fingerprint(task)
    assert fingerprint(replace(task, name="other")) != fingerprint(task)


def test_partials_and_instances_have_a_source(tmp_path):
    task = made(tmp_path)
    wrapped = replace(task, model=partial(task.model), loss=partial(partial(task.loss)))
    assert fingerprint(wrapped) == fingerprint(task)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TaskError, match=r"files: cannot read .*gone\.csv"):
        fingerprint(made(tmp_path, ("gone.csv",)))


def test_code_without_a_source_must_declare_files(tmp_path):
    space = {}
    exec(SOURCE.replace("FILES", "()"), space)
    with pytest.raises(TaskError, match=r"no source file.*declare files"):
        fingerprint(space["task"]())
    data = tmp_path / "data.csv"
    data.write_text("1")
    assert fingerprint(replace(space["task"](), files=(str(data),)))


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(accelerando.compare.task).failed == 0

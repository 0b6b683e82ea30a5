"""Workers that start before anything is planned, and a driver that does without torch."""

import subprocess
import sys
from contextlib import closing

import pytest

from accelerando.compare import executors
from accelerando.compare.local import Local
from accelerando.compare.spec import Spec
from accelerando.errors import SpecError, TaskError

DRIVER = """
import sys
from accelerando.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules
"""


def test_the_driver_does_without_torch_and_prints_go_to_the_log(written, tmp_path):
    path = written(("def loss(model, batch):", "def loss(model, batch):\n    print('in the loss')"))
    words = ["compare", path, "-s", "sgd", "--lrs", "1e-3", "--seeds", "2", "--steps", "5", "--device", "cpu"]
    command = [sys.executable, "-c", DRIVER, *map(str, words), "--workers", "1", "--out", "made"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "made" / "log" / "worker-0.log").read_text().count("in the loss") == 10
    assert "in the loss" not in result.stdout + result.stderr
    assert (tmp_path / "made" / "curves.png").stat().st_size > 1000


def test_a_plan_made_in_a_worker_is_the_plan_made_here(bowl, written):
    spec = Spec(task=str(bowl), strategies=("sgd", "adam+cosine", "no_such_library:Adam"), rates=(1e-3, 0.02))
    fatal = written(("import torch\n", "import os\nimport torch\n\nos._exit(3)\n"))
    with closing(Local(1, None)) as workers:
        assert executors.planned(spec, workers) == executors.planned(spec, None)
        with pytest.raises(SpecError, match="did you mean 'adam'"):
            executors.planned(Spec(task=str(bowl), strategies=("adamm",)), workers)
        with pytest.raises(TaskError, match="there is no file"):
            executors.planned(Spec(task="none.py"), workers)
        with pytest.raises(TaskError, match=r"status 3 while the task was loaded; look at"):
            executors.planned(Spec(task=str(fatal)), workers)


@pytest.mark.parametrize("spec", [Spec(executor="ray"), Spec(device="cuda"), Spec(device="auto")])
def test_nothing_starts_early_where_an_accelerator_or_another_executor_may_run(spec, monkeypatch):
    monkeypatch.setattr(executors, "_bare", lambda: False)
    assert executors.early(spec) is None

"""Workers that start before anything is planned, and a driver that does without torch."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from accelerando.compare import executors, plan
from accelerando.compare.executor import Job
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


def test_a_worker_has_its_next_trial_before_its_last_is_written_down(bowl):
    spec = Spec(task=str(bowl), strategies=("sgd",), rates=(1e-3,), fresh_seeds=3)
    with closing(Local(1, None)) as workers:
        experiment, reference = executors.planned(spec, workers)
        first, second, third = plan.trials(experiment, experiment.strategies[0], [1e-3], "fresh")
        assert workers.slots == 2
        for trial in (first, second):
            workers.submit(Job(trial.id, trial.to_json(), reference))
        results = []
        while not results:
            results = workers.wait(1.0)
        assert [result.id for result in results] == [first.id]
        assert workers._workers[0].job.id == second.id
        workers.submit(Job(third.id, third.to_json(), reference))
        while len(results) < 3:
            results += workers.wait(1.0)
        assert [result.id for result in results] == [first.id, second.id, third.id]
        assert all(result.outcome["status"] == "done" for result in results)


@pytest.mark.parametrize("spec", [Spec(executor="ray"), Spec(device="cuda"), Spec(device="auto")])
def test_nothing_starts_early_where_an_accelerator_or_another_executor_may_run(spec, monkeypatch):
    monkeypatch.setattr(executors, "_bare", lambda: False)
    assert executors.early(spec) is None


def children(pid):
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes through Linux's /proc")
@pytest.mark.parametrize("moment", ["while planning", "while training"])
def test_a_killed_driver_leaves_no_process_behind(bowl, tmp_path, moment):
    words = ["compare", "bowl.py", "-s", "sgd", "--lrs", "1e-3", "--seeds", "900", "--device", "cpu"]
    command = [sys.executable, "-c", "from accelerando.cli import main; main()", *words]
    ready = moment == "while planning"
    with subprocess.Popen([*command, "--workers", "2"], cwd=tmp_path, stderr=subprocess.DEVNULL) as driver:
        while len(children(driver.pid)) < 2 or not (ready or list(tmp_path.glob("*/trials/*.jsonl"))):
            assert driver.poll() is None
            time.sleep(0.01)
        left = children(driver.pid)
        driver.kill()
    deadline = time.monotonic() + 60
    while any(map(running, left)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in left if running(pid)]


def test_a_worker_killed_while_it_plans_is_replaced(bowl):
    spec = Spec(task=str(bowl), strategies=("sgd",), rates=(1e-3,))
    with closing(Local(1, None)) as workers:
        (doomed,) = workers.pids()
        os.kill(doomed, signal.SIGKILL)
        assert executors.planned(spec, workers) == executors.planned(spec, None)
        assert workers.pids() != [doomed]


def test_a_worker_collects_garbage_again_once_it_has_imported():
    program = "import gc, os; from accelerando.compare import worker; worker._warm()\n"
    program += "assert gc.isenabled() and gc.get_freeze_count() > 100_000\n"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

"""The command as a person uses it: in processes of its own."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STRATEGIES = ("-s", "sgd", "-s", "torch.optim:Adam+cosine")
SMALL = (*STRATEGIES, "--lrs", "1e-3,1e-2", "--tune-seeds", "1", "--seeds", "3", "--device", "cpu")


def journals(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "trials").glob("*.jsonl")}


def test_from_a_users_file_to_a_report_and_again(bowl, accelerando, tmp_path):
    first = accelerando("compare", "bowl.py", *SMALL)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "accelerando-bowl"
    assert "sgd" in first.stdout
    records, report = journals(folder), (folder / "report.md").read_bytes()
    assert len(records) >= 2 * 2 + 2 * 3
    assert (folder / "report.html").stat().st_size > 1000

    again = accelerando("compare", "bowl.py", *SMALL)
    assert again.returncode == 0, again.stderr
    assert f"{len(records)} of them from before" in again.stderr
    assert journals(folder) == records
    assert (folder / "report.md").read_bytes() == report

    for name in ("index.db", "report.md", "report.html"):
        (folder / name).unlink()
    rebuilt = accelerando("report", "accelerando-bowl", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert (folder / "report.md").read_bytes() == report
    words = json.loads(rebuilt.stdout)
    assert words["format"] == "accelerando.compare/1"
    assert {o["id"] for o in words["outcomes"]} == {name.removesuffix(".jsonl") for name in records}

    bowl.write_text(bowl.read_text() + "\n# changed\n")
    changed = accelerando("compare", "bowl.py", *SMALL)
    assert changed.returncode == 0, changed.stderr
    assert f"has changed: {len(records)} trials of before are kept and not used" in changed.stderr
    assert len(journals(folder)) == 2 * len(records)
    assert journals(folder).items() > records.items()


def test_a_change_in_a_module_it_imports_is_a_change_of_the_task(written, tmp_path):
    from accelerando.compare.resolve import resolve

    def identity():
        sys.modules.pop("helper_of_variant", None)
        return resolve(str(path)).hash

    (tmp_path / "helper_of_variant.py").write_text("NOISE = 0.1\n")
    path = written(("import torch\n", "import torch\nfrom helper_of_variant import NOISE\n"))
    first = identity()
    assert identity() == first
    (tmp_path / "helper_of_variant.py").write_text("NOISE = 0.25\n")
    assert identity() != first


def test_ctrl_c_keeps_what_is_done(bowl, tmp_path):
    words = [sys.executable, "-c", "from accelerando.cli import main; main()", "compare", "bowl.py", *SMALL]
    words += ["--steps", "2000", "--seeds", "40"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "accelerando-bowl"
    while process.poll() is None and len(list(folder.glob("trials/*.jsonl"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the same command continues" in stderr
    assert "Traceback" not in stderr
    assert 3 <= len(journals(folder)) < 84


BATCHES = """
    import os, signal
    if seed == 1000:
        raise RuntimeError("out of order")
    if seed == 1001:
        os._exit(3)
    if seed == 1002:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 1003:
        return
"""


def test_trials_that_break_or_kill_their_worker_leave_the_others_unharmed(written, accelerando, tmp_path):
    path = written(("    stream = ", BATCHES + "    stream = "))
    result = accelerando(
        "compare", path, "-s", "sgd", "--lrs", "1e-3", "--seeds", 7, "--out", "x", "--json", "--workers", 2
    )
    assert result.returncode == 0, result.stderr
    found = {outcome["seed"]: outcome for outcome in json.loads(result.stdout)["outcomes"]}
    assert [found[seed]["status"] for seed in range(1000, 1007)] == ["error"] * 4 + ["done"] * 3
    assert found[1000]["message"] == "RuntimeError: out of order"
    assert found[1000]["place"].startswith(f"{path.name}:")
    assert "ended itself with status 3" in found[1001]["message"]
    assert "killed by SIGKILL 6 times; it may want more memory" in found[1002]["message"]
    assert "tried again (5 of 5)" in result.stderr
    assert "ended after 0 of 40 updates" in found[1003]["message"]

    path.write_text(path.read_text().replace("raise RuntimeError", "print"))
    retried = accelerando("report", "x", "--json")
    assert len(json.loads(retried.stdout)["outcomes"]) == 7


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "import torch\n",
            "import torch\nimport no_such_module\n",
            "No module named 'no_such_module'; install it",
        ),
        ("import torch\n", "import torch\nx = = 3\n", ":3: invalid syntax; mend the file"),
        ("    return Task(", "    return dict(", "dict() takes|must return a Task|dict expected"),
        ("def task():", "def tusk():", "there is no 'task' in it.*tusk"),
        ("def task():", "def task(x):", "missing 1 required positional argument"),
        ("steps=40", "steps=0", "steps must be a whole number"),
        ("steps=40", "steps=40, files=('none.csv',)", "cannot read .*none.csv"),
    ],
)
def test_a_task_that_cannot_be_loaded_says_where(written, old, new, complaint):
    from accelerando.compare.resolve import resolve
    from accelerando.errors import TaskError

    path = written((old, new))
    with pytest.raises(TaskError) as caught:
        resolve(str(path))
    assert re.search(complaint, str(caught.value)) or complaint in str(caught.value), str(caught.value)
    assert path.stem in str(caught.value)


def test_a_task_that_always_breaks_stops_early_and_says_where(written, accelerando, tmp_path):
    path = written(
        ("    return (SCALES * (model.place - batch[0])", "    return (SCALES * (model.plaice - batch[0])")
    )
    result = accelerando("compare", path, *SMALL, "--seeds", 40)
    assert result.returncode == 1
    assert f"every trial fails alike, at {path.name}:" in result.stderr
    assert "has no attribute 'plaice'" in result.stderr
    assert len(list(tmp_path.glob("*/trials/*.jsonl"))) < 20


def test_an_experiment_in_toml(bowl, accelerando, tmp_path):
    (tmp_path / "bowl.toml").write_text(
        'task = "bowl.py"\nout = "t"\nstrategies = ["sgd", "torch.optim:Gone"]\n'
        "rates = [1e-3]\nfresh_seeds = 9\n"
    )
    result = accelerando("compare", "--config", "bowl.toml", "--seeds", 2, "--json", "--lang", "zh")
    assert result.returncode == 0, result.stderr
    words = json.loads(result.stdout)
    assert [(o["strategy"], o["status"]) for o in words["outcomes"]] == [
        ("sgd", "done"),
        ("sgd", "done"),
        ("torch.optim:Gone", "not run"),
    ]
    assert "torch.optim:Gone: not run: torch.optim has no Gone" in result.stderr
    assert (tmp_path / "t" / "report.html").read_text(encoding="utf-8").count("学习率") > 0


def test_killed_drivers_and_workers_lose_nothing():
    script = Path(__file__).parents[3] / "benchmarks" / "compare_crash.py"
    kills = ("--driver-kills", "2", "--worker-kills", "2")
    words = [sys.executable, script, *kills, "--seeds", "3", "--steps", "60"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "NO" not in result.stdout

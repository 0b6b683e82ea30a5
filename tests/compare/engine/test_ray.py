"""The Ray executor, where the extra `ray` is installed; nothing else here is left out without it."""

import json
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("ray", reason="needs the extra `ray`")

SMALL = (
    "-s",
    "sgd",
    "-s",
    "torch.optim:Adam+cosine",
    "--lrs",
    "1e-3,1e-2",
    "--tune-seeds",
    "1",
    "--device",
    "cpu",
)


def results(folder):
    found = {}
    for path in (folder / "trials").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[-1].pop("seconds")
        found[path.stem] = lines
    return found


def test_ray_and_local_agree_and_local_finishes_what_ray_began(bowl, accelerando, tmp_path):
    local = accelerando("compare", "bowl.py", *SMALL, "--seeds", 20, "--out", "local")
    assert local.returncode == 0, local.stderr
    words = [sys.executable, "-c", "from accelerando.cli import main; main()", "compare", "bowl.py", *SMALL]
    words += ["--seeds", "20", "--out", "mixed", "--executor", "ray"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list((tmp_path / "mixed").glob("trials/*.jsonl"))) < 8:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    begun = results(tmp_path / "mixed")
    assert len(begun) >= 8
    finished = accelerando("compare", "bowl.py", *SMALL, "--seeds", 20, "--out", "mixed")
    assert finished.returncode == 0, finished.stderr
    assert f"{len(begun)} of them from before" in finished.stderr
    assert results(tmp_path / "mixed") == results(tmp_path / "local")
    assert (tmp_path / "mixed/report.md").read_bytes() == (tmp_path / "local/report.md").read_bytes()

"""What happens to a step on a real machine: caches, processes, forks, threads, and tensors that move."""

import copy
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import accelerando
from accelerando.cli.group import accelerando as cli
from accelerando.engine import cache
from accelerando.errors import BackendWarning

STEP = (
    "import torch, accelerando\n"
    "p = torch.nn.Parameter(torch.ones(8)); p.grad = torch.ones(8)\n"
    "accelerando.LAMB([p], lr=0.1, backend='cpu').step()\n"
    "print(p.sum().item())\n"
)
"""A first step, in a process of its own."""


def start(directory, text=STEP, **more):
    environment = {**os.environ, "ACCELERANDO_CACHE_DIR": str(directory), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", text],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def finish(process):
    out, err = process.communicate(timeout=540)
    assert process.returncode == 0, err
    return out.strip(), err


def net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))


def backward(module, seed=0):
    module.zero_grad()
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(seed))
    module(x).square().mean().backward()


def test_eight_processes_with_one_cold_cache(tmp_path):
    answers = {finish(p)[0] for p in [start(tmp_path / "cache") for _ in range(8)]}
    assert len(answers) == 1
    left = [f.name for f in (tmp_path / "cache" / "kernels").iterdir() if f.is_file()]
    assert len(left) == 1 and left[0].startswith("lamb_f32_")  # written once, nothing half made is left


def test_the_directory_belongs_to_the_user_alone(tmp_path):
    finish(start(tmp_path / "cache"))
    assert stat.S_IMODE((tmp_path / "cache" / "kernels").stat().st_mode) == 0o700


@pytest.mark.parametrize("obstacle", ["a file in its place", "a link in its place"])
def test_a_cache_that_cannot_be_had_is_said_and_replaced(tmp_path, obstacle):
    if obstacle == "a file in its place":
        (tmp_path / "kernels").write_text("not a directory")
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "kernels").symlink_to(tmp_path / "elsewhere")
    out, err = finish(start(tmp_path))
    assert float(out) == pytest.approx(8 * 0.9)
    assert (
        "kernels cannot be kept in" in err and "set ACCELERANDO_CACHE_DIR to a directory of your own" in err
    )


AS_OTHERS = (
    "import ctypes\n"
    "libc = ctypes.CDLL(None)\n"
    "head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
    "assert libc.capget(head, sets) == 0\n"
    "sets[0] &= ~0b110\n"  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of the effective set
    "assert libc.capset(head, sets) == 0\n"
)
"""Root writes everywhere; on Linux a process can give that up and be bound by modes, as others are."""


@pytest.mark.skipif(
    hasattr(os, "getuid") and os.getuid() == 0 and sys.platform != "linux", reason="root writes everywhere"
)
def test_a_read_only_cache_is_said_and_replaced(tmp_path):
    tmp_path.chmod(0o500)
    try:
        out, err = finish(start(tmp_path / "cache", (AS_OTHERS if os.getuid() == 0 else "") + STEP))
        assert not list(tmp_path.iterdir())
    finally:
        tmp_path.chmod(0o700)
    assert float(out) == pytest.approx(8 * 0.9)
    assert "kernels cannot be kept in" in err and "Permission denied" in err


def test_a_write_that_fails_is_said_and_replaced(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.tempfile, "NamedTemporaryFile", full)
    with pytest.warns(BackendWarning, match=r"No space left on device\); this process keeps them in"):
        found = cache._usable(tmp_path / "kernels")
    assert found != tmp_path / "kernels"
    found.rmdir()


def test_a_damaged_file_is_written_anew(tmp_path):
    finish(start(tmp_path))
    (file,) = (f for f in (tmp_path / "kernels").iterdir() if f.is_file())
    whole = file.read_text()
    file.write_text("raise SystemExit('half a file')")
    finish(start(tmp_path))
    assert file.read_text() == whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_steps_too(tmp_path):
    text = (
        "import os, numpy as np, torch, accelerando\n"
        "from accelerando.engine.cpu import threads\n"
        "threads.ENOUGH = 1; torch.set_num_threads(2)\n"
        "p = torch.nn.Parameter(torch.ones(200_000)); p.grad = torch.ones(200_000)\n"
        "optimizer = accelerando.AdamW([p], backend='cpu'); optimizer.step()\n"
        "assert len(optimizer._plan.lots[0].ranges) == 2\n"
        "child = os.fork()\n"
        "optimizer.step()\n"
        "good = np.ptp(p.detach().numpy()) == 0 and int(optimizer.state[p]['step']) == 2\n"
        "if child == 0: os._exit(0 if good else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert finish(start(tmp_path, text))[0] == "0"


def test_threads_step_models_of_their_own_at_once():
    def train(module, optimizer):
        for k in range(50):
            module.zero_grad()
            x = torch.randn(7, 6, generator=torch.Generator().manual_seed(k))
            module(x).square().mean().backward()
            optimizer.step()

    alone, nets = net(), [net() for _ in range(4)]
    train(alone, accelerando.LAMB(alone.parameters(), lr=0.01))
    optimizers = [accelerando.LAMB(n.parameters(), lr=0.01) for n in nets]
    workers = [threading.Thread(target=train, args=pair) for pair in zip(nets, optimizers, strict=True)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    for module in nets:
        for p, q in zip(module.parameters(), alone.parameters(), strict=True):
            assert torch.equal(p, q)


MOVES = {
    "data is replaced": lambda m, o: [setattr(p, "data", p.data.clone()) for p in m.parameters()],
    "state is replaced": lambda m, o: [
        o.state[p].update({k: v.clone() for k, v in o.state[p].items()}) for p in m.parameters()
    ],
    "the model is moved": lambda m, o: m._apply(torch.clone),
    "counts are set": lambda m, o: [
        o.state[p]["step"].fill_(float(o.state[p]["step"])) for p in m.parameters()
    ],
    "state is loaded": lambda m, o: o.load_state_dict(copy.deepcopy(o.state_dict())),
    "gradients are made anew": lambda m, o: m.zero_grad(set_to_none=True),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("cls", [accelerando.AdamW, accelerando.LAMB])
def test_nothing_stale_is_written_to(cls, move):
    def run(moves):
        module = net()
        optimizer = cls(module.parameters(), lr=0.05)
        for k in range(6):
            if moves and k:
                MOVES[move](module, optimizer)
            backward(module, k)
            optimizer.step()
        return list(module.parameters())

    for p, q in zip(run(False), run(True), strict=True):
        assert torch.equal(p, q)


def test_a_double_model_goes_on_in_double():
    module = net()
    optimizer = accelerando.AdamW(module.parameters(), lr=0.05)
    backward(module)
    optimizer.step()
    module.double()
    x = torch.randn(7, 6, dtype=torch.float64)
    module.zero_grad()
    module(x).square().mean().backward()
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.warns(BackendWarning, match="exp_avg is torch.float32"):
        optimizer.step()
    assert all((p != b).any() for p, b in zip(module.parameters(), before, strict=True))


def test_a_saved_tensor_that_was_stepped_is_noticed():
    p = torch.nn.Parameter(torch.ones(3))
    loss = (p * p).sum()
    p.grad = torch.ones(3)
    accelerando.AdamW([p], backend="cpu").step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_show_prints_what_runs(tmp_path):
    shown = CliRunner().invoke(cli, ["show", "LAMB", "--backend", "cpu"]).output
    finish(start(tmp_path))
    (file,) = (f for f in Path(tmp_path / "kernels").iterdir() if f.is_file())
    assert file.read_text() in shown
    assert "torch" not in shown and "def second(" in shown
    assert (
        "def direction(like, p, g" in CliRunner().invoke(cli, ["show", "LAMB", "--backend", "eager"]).output
    )


def test_info_says_what_runs_where(monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERANDO_CACHE_DIR", str(tmp_path))
    told = CliRunner().invoke(cli, ["info"]).output
    assert str(tmp_path / "kernels") in told and "compiled, one call a step" in told

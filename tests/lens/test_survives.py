"""What happens to a lens in real training: closures, scalers, several optimizers, copies, crashes."""

import copy
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from accelerando.errors import HyperparameterError, RecordingError, UnsupportedTensorError
from accelerando.lens import Lens, read


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def train(model, optimizer, steps, seed=0, closure=False):
    source = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 4, generator=source)

        def loss_of(x=x):
            optimizer.zero_grad()
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            loss.backward()
            return loss

        if closure:
            optimizer.step(loss_of)
        else:
            loss_of()
            optimizer.step()


def test_a_closure_tells_the_same_as_none():
    tables = []
    for closure in (False, True):
        model = net()
        adam = torch.optim.Adam(model.parameters(), lr=1e-2)
        with Lens(adam, model=model, every=2) as lens:
            train(model, adam, 9, closure=closure)
        tables.append(lens.table())
    assert tables[0] == tables[1]
    assert sorted({r["step"] for r in tables[0]}) == [1, 3, 5, 7, 9]


def test_lbfgs_which_calls_its_closure_often():
    model = net()
    lbfgs = torch.optim.LBFGS(model.parameters(), lr=0.5)
    with Lens(lbfgs, model=model, every=1) as lens:
        train(model, lbfgs, 3, closure=True)
    assert [r["step"] for r in lens.table("optimizer")] == [1, 2, 3]


def test_recording_changes_nothing():
    plain, seen = net(), net()
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-2, weight_decay=0.1) for m in (plain, seen)]
    train(plain, optimizers[0], 12)
    with Lens(optimizers[1], every=1):
        train(seen, optimizers[1], 12)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), seen.parameters(), strict=True))
    first, second = (o.state_dict() for o in optimizers)
    assert first["param_groups"] == second["param_groups"]


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler_that_skips(fused):
    model = net()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    with Lens(adam, model=model, every=1) as lens:
        for i in range(4):
            adam.zero_grad()
            loss = model(torch.ones(2, 4)).square().sum() * (math.inf if i == 1 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(adam)
            scaler.update()
    gains = [r["gain"] for r in lens.table("optimizer") if r["gain"]]
    assert len(gains) == 3
    assert all(1e-4 < gain < 1 for gain in gains)


def test_accumulated_micro_batches_are_one_step():
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with Lens(sgd, every=1) as lens:
        for _ in range(2):
            for _ in range(3):
                model(torch.ones(2, 4)).sum().backward()
            sgd.step()
            sgd.zero_grad(set_to_none=True)
    rows = lens.table("optimizer")
    assert [r["step"] for r in rows] == [1, 2]
    assert [r["gain"] for r in rows] == pytest.approx([0.1, 0.1])


def test_parameters_frozen_and_added_midway():
    model, head = net(), nn.Linear(4, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with Lens(sgd, model=nn.ModuleDict({"body": model, "head": head}), every=1) as lens:
        train(model, sgd, 2)
        model[0].weight.requires_grad_(False)
        sgd.zero_grad()
        sgd.add_param_group({"params": head.parameters(), "lr": 0.3})
        (model(torch.ones(2, 4)) + head(torch.ones(2, 4))).sum().backward()
        sgd.step()
    by_step = {s: [r["tensor"] for r in lens.table("tensor") if r["step"] == s] for s in (1, 2, 3)}
    assert by_step[1] == by_step[2] == ["body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"]
    assert by_step[3] == ["body.0.bias", "body.2.weight", "body.2.bias", "head.weight", "head.bias"]
    assert {r["lr"] for r in lens.table("group") if r["step"] == 3} == {0.1, 0.3}


def test_several_optimizers_and_containers():
    one, two = net(1), net(2)
    first = torch.optim.SGD(one.parameters(), lr=0.1)
    second = torch.optim.Adam(two.parameters(), lr=0.01)

    class Container:
        optimizers = [first, second]

    with Lens([first, Container()], every=2) as lens:
        train(one, first, 3)
        train(two, second, 5)
    steps = sorted((r["optimizer"], r["step"]) for r in lens.table("optimizer"))
    assert steps == [(0, 1), (0, 3), (1, 1), (1, 3), (1, 5)]
    with pytest.raises(UnsupportedTensorError, match="empty"):
        Lens([])


def test_an_exception_inside_training_takes_the_hooks_off(tmp_path):
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ZeroDivisionError), Lens(sgd, every=1, to=tmp_path / "run.lens") as lens:
        train(model, sgd, 3)
        raise ZeroDivisionError
    train(model, sgd, 3)
    assert not sgd._optimizer_step_pre_hooks and not sgd._optimizer_step_post_hooks
    assert lens.recording.last(0) == read(tmp_path / "run.lens").last(0) == 3


def test_a_copied_optimizer_is_not_recorded():
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with Lens(sgd, every=1) as lens:
        train(model, copy.deepcopy(sgd), 2)
        train(model, sgd, 1)
        assert copy.deepcopy(lens) is lens
    assert len(lens.table("optimizer")) == 1


def test_the_step_that_only_creates_state_is_not_a_sample():
    model = net()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    with Lens(adam, every=1) as lens:
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        adam.param_groups[0]["lr"] = 0.0
        adam.step()
        adam.param_groups[0]["lr"] = 1e-2
        train(model, adam, 1)
    assert [r["step"] for r in lens.table("optimizer")] == [1]


@pytest.mark.parametrize(
    ("make", "every"), [(torch.optim.Adam, 1), (torch.optim.SGD, 1), (torch.optim.Adam, 3)]
)
def test_resuming_goes_on_in_the_same_file(tmp_path, make, every):
    def go(path, lengths):
        model = net()
        optimizer = make(model.parameters(), lr=1e-2)
        saved = None
        for length, kept in lengths:
            if saved:
                model, optimizer = net(), None
                optimizer = make(model.parameters(), lr=1e-2)
                model.load_state_dict(saved[0])
                optimizer.load_state_dict(saved[1])
            with Lens(optimizer, model=model, every=every, to=path, start=start(optimizer, saved)) as lens:
                for i in range(length):
                    train(model, optimizer, 1, seed=(saved[2] if saved else 0) + i)
                    if i + 1 == kept:
                        saved = copy.deepcopy(
                            (model.state_dict(), optimizer.state_dict(), saved[2] + kept if saved else kept)
                        )
        return lens.table()

    def start(optimizer, saved):
        return (saved[2] if saved else 0) if make is torch.optim.SGD else None

    whole = go(tmp_path / "whole.lens", [(12, 12)])
    resumed = go(tmp_path / "resumed.lens", [(8, 6), (6, 6)])

    def near(rows):  # agreement with the next gradient is lost where a run was cut
        return {
            (r["step"], r["scope"], r["tensor"]): {
                k: pytest.approx(v, rel=1e-8) if isinstance(v, float) else v
                for k, v in r.items()
                if k != "agreement"
            }
            for r in rows
        }

    wide = near(whole)
    assert list(wide) == list(near(resumed))
    again = [r.rows for r in read(tmp_path / "resumed.lens").samples]
    assert [row for rows in again for row in rows] and len(near(resumed)) == len(resumed)
    for row in resumed:
        assert {k: v for k, v in row.items() if k != "agreement"} == wide[
            row["step"], row["scope"], row["tensor"]
        ]


CHILD = """
import sys, torch
sys.path.insert(0, {here!r})
from test_survives import net, train
from accelerando.lens import Lens
torch.set_num_threads(1)
model = net()
adam = torch.optim.Adam(model.parameters(), lr=1e-2)
with Lens(adam, model=model, every=1, to={path!r}, limit=200):
    print("go", flush=True)
    train(model, adam, 10**6)
"""


@pytest.mark.parametrize("delay", [0.05, 0.21, 0.4])
def test_kill_9_while_recording_then_resume(tmp_path, delay):
    path = tmp_path / "run.lens"
    code = CHILD.format(here=str(Path(__file__).parent), path=str(path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    killed = read(path)
    assert all(len(s.rows) == 6 for s in killed.samples)
    with path.open("ab") as torn:
        torn.write(b'{"kind": "row", "step": 99')
    assert len(read(path).samples) == len(killed.samples)
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with Lens(sgd, model=model, every=1, to=path) as lens:
        train(model, sgd, 3)
    last = killed.last(0)
    assert [s.step for s in lens.recording.samples][-3:] == [last + 1, last + 2, last + 3]
    assert read(path).last(0) == last + 3
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_file_is_one_lens_s_at_a_time(tmp_path):
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with Lens(sgd, to=tmp_path / "run.lens"), pytest.raises(RecordingError, match="another lens"):
        Lens(sgd, to=tmp_path / "run.lens")
    Lens(sgd, to=tmp_path / "run.lens").close()


def test_files_that_are_no_recordings(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("dear diary\n")
    sgd = torch.optim.SGD(net().parameters(), lr=0.1)
    with pytest.raises(RecordingError, match="no lens recording"):
        Lens(sgd, to=other)
    assert other.read_text() == "dear diary\n"
    newer = tmp_path / "newer.lens"
    newer.write_text('{"kind": "lens", "version": 99}\n')
    with pytest.raises(RecordingError, match="version 99"):
        read(newer)
    with pytest.raises(RecordingError, match="cannot be read"):
        read(tmp_path / "missing.lens")
    with pytest.raises(RecordingError, match="cannot be written"):
        Lens(sgd, to=tmp_path / "no" / "such" / "folder.lens")
    damaged = tmp_path / "damaged.lens"
    damaged.write_text('{"kind": "lens", "version": 1}\nnonsense\n{"kind": "event", "code": "LR101"}\n')
    with pytest.raises(RecordingError, match="damaged at line 2"):
        read(damaged)
    assert not sgd._optimizer_step_pre_hooks


def test_thinning_bounds_the_rows_and_keeps_every_event(tmp_path):
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    unused = nn.Parameter(torch.zeros(3))
    sgd.add_param_group({"params": [unused]})
    with Lens(sgd, model=model, every=1, to=tmp_path / "run.lens", limit=60) as lens:
        train(model, sgd, 200)
    again = read(tmp_path / "run.lens")
    for recording in (lens.recording, again):
        assert 25 <= sum(len(s.rows) for s in recording.samples) <= 60
        assert [e["code"] for e in recording.events] == ["LR105"]
        gaps = {b.step - a.step for a, b in zip(recording.samples, recording.samples[1:], strict=False)}
        assert len(gaps) == 1 and recording.samples[0].step == 1


@pytest.mark.parametrize(("option", "value"), [("every", 0), ("every", 2.5), ("limit", 0), ("start", -1)])
def test_options_out_of_range(option, value):
    with pytest.raises(HyperparameterError, match=option):
        Lens(torch.optim.SGD(net().parameters(), lr=0.1), **{option: value})


def test_bfloat16_weights_and_complex_ones():
    p = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    z = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    adam = torch.optim.Adam([p, z], lr=0.25)
    with Lens(adam, every=1) as lens:
        p.grad, z.grad = torch.ones_like(p), torch.full_like(z, 3 + 4j)
        adam.step()
    first, second = lens.table("tensor")
    assert first["gain"] == pytest.approx(0.25)
    assert second["grad_norm"] == pytest.approx(5 * math.sqrt(2))

"""Steps are worked out many at a time; what is recorded is what one at a time would have been."""

import errno
import os

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import accelerando
from accelerando.errors import RecordingError
from accelerando.lens import Lens, batch, read, store

OPTIMIZERS = {
    "AdamW": lambda ps: accelerando.AdamW(ps, lr=1e-2, weight_decay=0.1),
    "Adam": lambda ps: accelerando.Adam(ps, lr=1e-2, weight_decay=0.1, amsgrad=True),
    "RAdam": lambda ps: accelerando.RAdam(ps, lr=1e-2),
    "LAMB": lambda ps: accelerando.LAMB(ps, lr=1e-2, weight_decay=0.1),
    "Prodigy": lambda ps: accelerando.Prodigy(ps, use_bias_correction=True),
    "ScheduleFreeAdamW": lambda ps: accelerando.ScheduleFreeAdamW(ps, lr=1e-2, warmup_steps=5),
    "Accelerando": lambda ps: accelerando.Accelerando(ps, total_steps=60),
    "torch": lambda ps: torch.optim.AdamW(ps, lr=1e-2),
}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def train(model, optimizer, steps, scheduler=None, odd=None):
    source = torch.Generator().manual_seed(0)
    for step in range(1, steps + 1):
        x = torch.randn(16, 4, generator=source)
        optimizer.zero_grad()
        (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
        if odd:
            odd(step, model)
        optimizer.step()
        if scheduler:
            scheduler.step()


def odd(step, model):
    """A parameter without a gradient for a while, then one that is not finite, then one of zeros."""
    weight = model[0].weight
    if 12 <= step < 20:
        weight.grad = None
    if step == 30:
        weight.grad[0, 0] = torch.inf
    if step > 30:
        weight.grad = torch.zeros_like(weight)


def recorded(monkeypatch, make, room, scheduled, strange):
    monkeypatch.setattr(batch, "ROOM", room)
    monkeypatch.setattr(batch, "PATIENCE", 1e9)
    model = net()
    optimizer = make(model.parameters())
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, 60, cycle_momentum=False) if scheduled else None
    with Lens(optimizer, model=model, every=1) as lens:
        train(model, optimizer, 60, scheduler, odd if strange else None)
    return lens.table(), lens.events()


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
@pytest.mark.parametrize(("scheduled", "strange"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_at_a_time_say_what_one_at_a_time_says(monkeypatch, name, scheduled, strange):
    if scheduled and name == "Accelerando":
        pytest.skip("its rate is its own")
    one, many = (recorded(monkeypatch, OPTIMIZERS[name], n, scheduled, strange) for n in (1, 1000))
    assert len(one[0]) == len(many[0])
    for alone, together in zip(one[0], many[0], strict=True):
        for field, value in alone.items():
            wanted = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
            assert together[field] == wanted, field
    assert [(e.code, e.step, e.group, e.tensor) for e in one[1]] == [
        (e.code, e.step, e.group, e.tensor) for e in many[1]
    ]
    assert [e.cause for e in one[1]] == [e.cause for e in many[1]]


def test_two_lenses_on_one_optimizer_see_the_same():
    model = net()
    optimizer = accelerando.AdamW(model.parameters(), lr=1e-2)
    with Lens(optimizer, every=1) as one, Lens(optimizer, every=2) as two:
        train(model, optimizer, 9)
        assert not optimizer._optimizer_step_pre_hooks  # ours call the lens themselves
    sampled = [row for row in one.table() if row["step"] % 2]
    assert [r["gain"] for r in two.table()] == [r["gain"] for r in sampled]
    assert optimizer._observers == ()


def test_a_step_around_ours_is_seen_as_a_whole():
    class Twice(accelerando.AdamW):
        def step(self, closure=None):
            super().step(closure)
            return super().step(closure)

    model = net()
    optimizer = Twice(model.parameters(), lr=1e-2)
    with Lens(optimizer, every=1) as lens:
        train(model, optimizer, 3)
    assert [row["step"] for row in lens.table("optimizer")] == [1, 2, 3]


def test_a_buffer_that_is_exchanged_is_read_where_it_is_now():
    p = nn.Parameter(torch.ones(6))
    optimizer = accelerando.AdamW([p], lr=1e-2, betas=(0.0, 0.0), eps=0.0)
    with Lens(optimizer, every=1) as lens:
        for step in range(4):
            p.grad = torch.full((6,), 2.0**step)
            optimizer.step()
            optimizer.state[p]["exp_avg_sq"] = optimizer.state[p]["exp_avg_sq"].clone()
    rows = [row for row in lens.table("tensor") if row["rate_q50"]]
    assert len(rows) >= 3
    for row in rows:
        assert row["rate_q50"] == pytest.approx(1e-2 / 2.0 ** (row["step"] - 1), rel=1e-6)


def test_a_disk_that_is_full_while_steps_wait(tmp_path, monkeypatch):
    """The step is made all the same, the error says what is lost, and the file is read to its last whole sample."""
    monkeypatch.setattr(batch, "ROOM", 4)
    real, full = os.write, False

    def write(file, data):
        if not full:
            return real(file, data)
        real(file, bytes(data[:100]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "write", write)
    model, path = net(), tmp_path / "run.lens"
    optimizer = accelerando.AdamW(model.parameters(), lr=1e-2)
    lens = Lens(optimizer, model=model, every=1, to=path)
    train(model, optimizer, 6)
    recorded = read(path).last(0)
    full, before = True, model[0].weight.detach().clone()
    with pytest.raises(RecordingError, match=r"No space left.*stays readable"):
        train(model, optimizer, 6)
    assert not torch.equal(model[0].weight, before)
    assert int(optimizer.state[model[0].weight]["step"]) > 6
    assert read(path).last(0) == recorded > 0
    full = False
    train(model, optimizer, 4)
    lens.close()
    assert read(path).last(0) == lens.recording.last(0) == int(optimizer.state[model[0].weight]["step"])

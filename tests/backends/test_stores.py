"""Store policies: rounding by chance is right on average, and the same everywhere; a remainder loses nothing."""

import numpy as np
import pytest
import torch

import accelerando
from accelerando import AdamW
from accelerando.engine import hashing, stores
from accelerando.engine.cpu import lot as cpu_lot
from accelerando.engine.cpu.lot import CpuLot, scheme_of
from accelerando.engine.eager import EagerLot
from accelerando.engine.lots import Item, Rows

from . import rules
from .storing import (
    ALL,
    BACKENDS,
    BF16,
    BOTH,
    ELEMENTWISE,
    F16,
    STORED,
    Descent,
    Momentum,
    assert_same,
    parameters,
    short,
    state_of,
    train,
    walk,
)

# --- the hash ---


def test_the_hash_is_the_one_written_down():
    def mix(x):
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    (first,), (second,) = hashing.keys([5], [3.0], [2]).tolist()
    assert first == mix(mix(mix(5 ^ 0x243F6A88) ^ 2) ^ 3)
    index = torch.tensor([0, 1, 7, 2**32 - 1, 2**32 + 7])
    expected = [mix((mix(int(i) % 2**32 ^ first) + second + 4 * 0x9E3779B9) % 2**32) >> 16 for i in index]
    assert hashing.random16(index, first, second, 4).tolist() == expected


def test_random_bits_are_even_and_independent_of_each_other():
    def bits(seed=0, step=1.0, ordinal=0, slot=0):
        (first,), (second,) = hashing.keys([seed], [step], [ordinal]).tolist()
        return hashing.random16(torch.arange(1 << 16), first, second, slot).double() / 65536 - 0.5

    base = bits()
    counts = torch.histc(base, 64, -0.5, 0.5)
    assert ((counts - 1024).square() / 1024).sum() < 110  # chi-squared, 63 degrees of freedom: p = 0.0002
    others = [bits(seed=1), bits(step=2.0), bits(ordinal=1), bits(slot=1), base.roll(1), base.roll(64)]
    for other in others:
        assert abs(float((base * other).mean()) * 12) < 5 / 256  # five standard errors of a correlation


def test_an_element_keeps_its_place_in_any_layout():
    whole = torch.zeros(4, 6)
    assert hashing.places(whole, 10)[1, 2] == 18
    assert hashing.places(whole.t(), 0)[2, 1] == 8  # its place in memory
    assert hashing.places(torch.zeros(4, 6)[:, ::2], 0)[1, 2] == 5  # not dense: its place among the elements
    assert hashing.places(torch.zeros(()), 3) == 3 and hashing.places(torch.zeros(0), 3).numel() == 0


# --- stochastic ---

VALUES = [1.0, 1 + 2**-9, -1.0 - 2**-10, 0.333, 3e-7, 1.5e-5, 5e-8, -3e-39, 65504.0, 0.0]


@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
@pytest.mark.parametrize("x", VALUES)
def test_rounding_by_chance_hits_the_neighbours_and_the_mean(x, dtype):
    n = 1 << 16
    value = torch.full((n,), x, dtype=torch.float32)
    target = torch.empty(n, dtype=dtype)
    draws = stores.Draws(target, 0, *hashing.keys([0], [1.0], [0])[:, 0].tolist())
    stores.store_stochastic(target, value, draws(0))
    near = value[:1].to(dtype)
    neighbours = {float(torch.nextafter(near, torch.full_like(near, s * torch.inf))) for s in (-1, 1)}
    neighbours.add(float(near))
    found = set(target.unique().tolist())
    assert found <= neighbours and len(found) <= 2
    if float(near) == float(value[0]):
        assert found == {float(near)}
    gap = max(neighbours) - min(neighbours)
    assert abs(float(target.double().mean()) - float(value[0])) <= 5 * gap / 2 / n**0.5 + 2**-16 * gap


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_too_small_for_nearest_arrive_on_average(backend):
    def after(**settings):
        p = torch.nn.Parameter(torch.ones(4096, dtype=BF16))
        optimizer = Descent([p], lr=2**-11, backend=backend, **settings)
        p.grad = torch.ones_like(p)
        for _ in range(32):
            optimizer.step()
        return p.detach().double()

    assert torch.equal(after(), torch.ones(4096, dtype=torch.float64))  # nearest never moves
    means = torch.stack([after(store="stochastic", store_seed=s).mean() for s in range(8)])
    spread = means.std() / 8**0.5
    assert 0 < spread < 1e-4 and abs(means.mean() - (1 - 2**-6)) < 5 * spread
    assert len(set(means.tolist())) == 8  # every seed draws anew


@pytest.mark.parametrize(("dtype", "settings"), STORED, ids=short)
@pytest.mark.parametrize("cls", [Momentum, rules.Averaged], ids=short)
def test_backends_store_the_same_bits(cls, settings, dtype):
    assert_same(walk(cls, "eager", dtype, **settings), walk(cls, "cpu", dtype, **settings))


@pytest.mark.parametrize("settings", BOTH, ids=short)
@pytest.mark.parametrize("cls", ALL, ids=short)
def test_every_rule_stores_alike_on_both_backends(cls, settings):
    (ps, a), (qs, b) = walk(cls, "eager", **settings), walk(cls, "cpu", **settings)
    assert {n for n, _ in state_of(a)} == {n for n, _ in state_of(b)}
    for p, q in zip(ps, qs, strict=True):
        far = (p.detach().double() - q.detach().double()).abs() > 2**-7 * p.detach().double().abs()
        assert not far.any()  # at most one bfloat16 apart, and that seldom:
        assert int((p != q).sum()) <= max(1, p.numel() // 1000)
    for (name, kept), (_, other) in zip(state_of(a), state_of(b), strict=True):
        if kept.dtype == BF16:
            assert int((kept != other).sum()) <= max(1, kept.numel() // 1000), name


@pytest.mark.parametrize("cls", [AdamW, accelerando.LAMB], ids=short)
@pytest.mark.parametrize("settings", BOTH, ids=short)
def test_threads_change_no_bit(cls, settings, monkeypatch):
    monkeypatch.setattr(cpu_lot.threads, "ENOUGH", 1)
    before, ran = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            ran.append(walk(cls, "cpu", **settings))
            assert max(len(lot.ranges) for lot in ran[-1][1]._plan.lots) == count
    finally:
        torch.set_num_threads(before)
    assert_same(*ran)


@pytest.mark.parametrize("settings", BOTH, ids=short)
def test_chunks_change_no_bit(settings, monkeypatch):
    whole = walk(AdamW, "cpu", **settings)
    monkeypatch.setattr(cpu_lot, "CHUNK", 1000)
    assert_same(whole, walk(AdamW, "cpu", **settings))


@pytest.mark.parametrize("backend", BACKENDS)
def test_parts_of_a_tensor_draw_as_the_whole(backend):
    rule = Momentum.rules[None]
    group = {"store": "stochastic", "store_seed": 7, "state_dtype": "bf16"}
    stream = torch.Generator().manual_seed(0)
    start = torch.randn(1000, generator=stream).to(BF16)
    g = torch.randn(1000, generator=stream).to(BF16)

    def stepped(cuts):
        p, trace = start.clone(), torch.zeros(1000, dtype=BF16)
        items = [
            Item(group, rule, p[a:b], g[a:b], {"trace": trace[a:b]}, k, "", position=3, offset=a)
            for k, (a, b) in enumerate(cuts)
        ]
        lot = EagerLot(rule, items) if backend == "eager" else CpuLot(rule, scheme_of(items[0]), items)
        lot.ages = [4.0] * len(items)
        lot.first(Rows([(1.0, 0.01)], [0] * len(items)))
        return p, trace

    for one, two in zip(stepped([(0, 1000)]), stepped([(0, 1), (1, 377), (377, 1000)]), strict=True):
        assert torch.equal(one, two)


def test_dense_layouts_draw_alike():
    def run(backend):
        p = torch.nn.Parameter(parameters(BF16, shapes=[(6, 8)])[0].detach().t())
        optimizer = Momentum([p], backend=backend, store="stochastic")
        for _ in range(3):
            p.grad = torch.full((6, 8), 0.37, dtype=BF16).t()
            optimizer.step()
        return p.detach()

    assert torch.equal(run("eager"), run("cpu"))


# --- compensated ---


def test_every_float32_survives_being_split():
    stream = np.random.default_rng(0)
    bits = stream.integers(0, 2**32, 1 << 18, dtype=np.uint64).astype(np.uint32)
    corners = [0, 1, 0x7FFF, 0x8000, 0x8001, 0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000, 0x007FFFFF]
    bits = np.concatenate(
        [bits, np.array([c | s for c in corners for s in (0, 0x80000000)], dtype=np.uint32)]
    )
    x = torch.from_numpy(bits.view(np.float32))
    p, remainder = torch.empty(len(x), dtype=BF16), torch.empty(len(x), dtype=torch.int16)
    stores.store_compensated(p, remainder, x)
    back = stores.master(p, remainder)
    numbers = ~x.isnan()
    assert torch.equal(back.view(torch.int32)[numbers], x.view(torch.int32)[numbers])
    assert back.isnan()[~numbers].all() and p.isnan()[~numbers].all()
    tie = (torch.from_numpy(bits.astype(np.int64)) & 0xFFFF) == 0x8000
    assert torch.equal(p[numbers & ~tie], x.to(BF16)[numbers & ~tie])  # what the model sees is the nearest


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cls", [*ELEMENTWISE, Momentum], ids=short)
def test_a_compensated_run_is_the_float32_run(cls, backend):
    params, optimizer = walk(cls, backend, store="compensated")
    wide, exact = walk(cls, backend, torch.float32)
    for p, q in zip(params, wide, strict=True):
        assert torch.equal(stores.master(p.detach(), optimizer.state[p]["remainder"]), q)
        for name in cls.rules[None].buffers:
            assert torch.equal(optimizer.state[p][name], exact.state[q][name])


@pytest.mark.parametrize("cls", [c for c in ALL if c not in ELEMENTWISE], ids=short)
def test_sums_see_the_float32_weights(cls):
    params, optimizer = walk(cls, "cpu", store="compensated")
    wide, _ = walk(cls, "cpu", torch.float32)
    for p, q in zip(params, wide, strict=True):
        kept = stores.master(p.detach(), optimizer.state[p]["remainder"])
        torch.testing.assert_close(kept, q.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_set_by_hand_are_taken_up_to_half_a_place(backend):
    p = parameters(BF16, shapes=[(512,)])[0]
    optimizer = Momentum([p], lr=1e-3, backend=backend, store="compensated")
    train(optimizer, 3)
    assert (optimizer.state[p]["remainder"] < 0).any()
    for value in (0.0, 1.0):
        with torch.no_grad():
            p.fill_(value)
        optimizer.state[p]["trace"].zero_()
        p.grad = torch.zeros_like(p)
        optimizer.step()
        assert ((p.detach().double() - value).abs() <= 2**-8 * value + 1e-38).all()


# --- moments ---


def test_an_average_stalls_under_nearest_rounding_and_not_by_chance():
    p = torch.nn.Parameter(torch.zeros(2048, dtype=BF16))
    optimizer = AdamW([p], lr=0.0, betas=(0.9, 0.999), state_dtype="bf16")
    nearest = torch.zeros((), dtype=BF16)
    p.grad = torch.ones_like(p)
    for _ in range(3000):
        optimizer.step()
        nearest = (0.999 * nearest.float() + 0.001).to(BF16)
    exact = 1 - 0.999**3000
    v = optimizer.state[p]["exp_avg_sq"]
    assert v.dtype == BF16 and abs(float(v.double().mean()) - exact) < 0.005
    assert float(nearest) < 0.5 < exact


def test_only_what_starts_at_zero_is_narrow():
    _, optimizer = walk(rules.Everything, "cpu", state_dtype="bf16")
    dtypes = {name: value.dtype for name, value in state_of(optimizer)}
    assert dtypes["mean"] == BF16 and dtypes["origin"] == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_wide_parameters_may_have_narrow_moments(dtype):
    one, two = (walk(Momentum, backend, dtype, state_dtype="bf16") for backend in BACKENDS)
    assert_same(one, two)
    assert {v.dtype for n, v in state_of(one[1]) if n == "trace"} == {BF16}

"""Schedules as values: one formula for numbers, arrays and tensors; saved, read and composed."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accelerando import schedules as s
from accelerando.errors import HyperparameterError

steps = st.integers(1, 60)
factors = st.floats(0.0, 2.0)
shares = st.floats(0.01, 1.0)
shapes = st.sampled_from(["linear", "1-sqrt", "cosine"])

ended = st.one_of(
    st.builds(s.constant, factors, steps),
    st.builds(s.linear, steps, factors, factors),
    st.builds(s.polynomial, steps, st.floats(0.3, 4.0), factors, factors),
    st.builds(s.exponential, st.floats(0.9, 1.02), steps),
    st.builds(s.multi_step, st.lists(st.integers(1, 60), min_size=1, max_size=4).map(tuple), shares),
    st.builds(s.cosine, steps, factors),
    st.builds(s.warmup, steps, st.sampled_from(["linear", "exponential"]), shares),
    st.builds(s.warmup.untuned, st.floats(0.5, 0.99)),
    st.builds(s.cooldown, steps, st.integers(0, 60), shapes, st.floats(0.0, 1.0)),
    st.builds(s.wsd, st.integers(0, 30), st.integers(0, 30), steps, shapes, st.floats(0.0, 1.0)),
    st.builds(s.one_cycle, steps, st.floats(0.0, 0.5), st.sampled_from(["cos", "linear"]), factors, factors),
)
endless = st.one_of(
    st.builds(s.step, steps, shares),
    st.builds(s.inverse_sqrt, steps),
    st.builds(s.cosine_restarts, steps, st.integers(1, 3), st.floats(0.0, 1.0), shares),
    st.builds(s.cyclic, steps, steps, shares, st.sampled_from(["triangular", "triangular2", "exp_range"]),
              shares, st.sampled_from(["linear", "log"])),
    st.builds(s.warmup.untuned, st.floats(0.5, 0.99), st.just("exponential")),
)  # fmt: skip


def grow(parts):
    short = parts.map(lambda part: part if part.length else part.take(40))
    return st.one_of(
        st.builds(lambda a, b: a * b, parts, parts),
        st.builds(lambda a, b: a >> b, short, parts),
        st.builds(lambda a, n: a.repeat(n), short, st.none() | st.integers(1, 3)),
        st.builds(lambda a, low: a.clip(low, low + 0.5), parts, st.floats(0.0, 0.5)),
        st.builds(lambda a, n: a.take(n), parts, steps),
        st.builds(lambda a, x: x * a, parts, factors),
    )


compositions = st.recursive(st.one_of(ended, endless), grow, max_leaves=6)
many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@many
@given(compositions)
def test_one_formula_for_numbers_arrays_and_tensors(schedule):
    grid = np.arange(150)
    whole = schedule(grid)
    assert whole.dtype == np.float64 and np.isfinite(whole).all() and (whole >= 0).all()
    tensor = schedule(torch.from_numpy(grid))
    assert tensor.dtype == torch.float64
    np.testing.assert_allclose(tensor.numpy(), whole, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose([schedule(int(t)) for t in grid], whole, rtol=1e-12, atol=1e-14)


@many
@given(compositions)
def test_round_trips(schedule):
    text = json.dumps(schedule.to_dict())
    assert s.from_dict(json.loads(text)) == schedule == s.from_json(schedule.to_json())
    assert s.parse(repr(schedule)) == schedule
    assert hash(s.from_json(text)) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule.as_lambda()))(7) == schedule(7)


@many
@given(compositions)
def test_what_has_a_length_holds_from_there(schedule):
    if schedule.length is not None:
        later = schedule(np.arange(schedule.length, schedule.length + 50))
        np.testing.assert_allclose(later, later[0], rtol=1e-12, atol=1e-15)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(compositions, st.integers(0, 80))
def test_iteration_is_the_closed_form_and_resumes_at_any_step(schedule, at):
    def build():
        p = torch.nn.Parameter(torch.zeros(1))
        return torch.optim.SGD([p], lr=0.5)

    first, second, rates = build(), build(), []
    scheduler = s.ScheduledLR(first, schedule)
    for t in range(100):
        if t == at:
            saved = first.state_dict(), json.loads(json.dumps(scheduler.state_dict()))
            scheduler = s.ScheduledLR(second, s.constant())
            second.load_state_dict(saved[0])
            with pytest.warns(UserWarning) if not _is_one(schedule) else _nothing():
                scheduler.load_state_dict(saved[1])
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.advance()
    np.testing.assert_allclose(rates, 0.5 * schedule(np.arange(100)), rtol=1e-12, atol=1e-15)


def _is_one(schedule):
    grid = np.unique(np.geomspace(1, 1_000_000, 40).astype(int))
    return np.allclose(schedule(grid), 1.0, rtol=1e-6)


class _nothing:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def test_operators_and_their_values():
    schedule = s.warmup(500) >> s.cosine(20_000, final=0.1)
    assert schedule.length == 20_500
    assert schedule(0) == pytest.approx(1 / 501)
    assert schedule(500) == 1.0
    assert schedule(20_500) == schedule(10**9) == pytest.approx(0.1)
    assert schedule.lr_at(500, lr=3e-4) == 3e-4
    assert (0.5 * schedule)(500) == 0.5
    assert schedule.clip(0.2)(20_500) == 0.2
    halves = s.linear(10).repeat(2)
    assert [halves(t) for t in (0, 5, 10, 15, 20, 25)] == [1, 0.5, 1, 0.5, 0, 0]
    assert (s.warmup(3) >> s.cosine(4) >> s.constant(0.1)).parts.__len__() == 3


def test_untuned_warmup_is_the_papers():
    t = np.arange(1, 3001)
    np.testing.assert_allclose(s.warmup.untuned(0.999)(t - 1), np.minimum(1, 0.0005 * t), rtol=1e-12)
    np.testing.assert_allclose(
        s.warmup.untuned(0.999, "exponential")(t - 1), 1 - np.exp(-0.001 * t), rtol=1e-9
    )
    assert s.warmup.untuned(0.999) == s.parse("warmup.untuned(0.999)")
    np.testing.assert_allclose(s.warmup.untuned(0.999)(t), s.warmup(1999)(t), rtol=1e-10)


def test_the_transformer_schedule():
    t = np.arange(1, 20_001)
    paper = np.minimum(t**-0.5, t * 4000**-1.5) * 4000**0.5
    ours = (s.warmup(4000, start=0.0) >> s.inverse_sqrt(4000))(t)
    np.testing.assert_allclose(ours, paper, rtol=1e-12)


def test_restarts_begin_exactly_where_they_should():
    schedule = s.cosine_restarts(10, mult=3, final=0.1, decay=0.5)
    starts = [0, 10, 40, 130, 400, 1210, 3640, 10930]
    np.testing.assert_allclose(schedule(np.array(starts)), np.maximum(0.5 ** np.arange(8), 0.1), rtol=1e-12)
    assert (schedule(np.array(starts[1:]) - 1) < 0.13).all()


def test_cyclic_on_a_log_axis_moves_by_equal_ratios():
    rates = s.cyclic(4, low=1e-4, axis="log")(np.arange(5))
    np.testing.assert_allclose(rates[1:] / rates[:-1], 10.0)


def test_a_member_for_each_group():
    members = s.per_group(s.cosine(10), s.constant(0.5)) * s.warmup(4)
    assert members.of(0) == s.cosine(10) * s.warmup(4)
    assert members.of(1) == members.of(7) == s.constant(0.5) * s.warmup(4)
    assert (s.warmup(4) >> s.per_group(s.cosine(10), s.linear(3))).of(1) == s.warmup(4) >> s.linear(3)


def test_every_public_name_is_there():
    for name in ("constant linear polynomial exponential step multi_step cosine cosine_restarts cyclic "
                 "one_cycle warmup wsd inverse_sqrt cooldown").split():  # fmt: skip
        assert getattr(s, name).name == name and name in s.names()
    assert s.create("cosine", steps=10, final=0.5) == s.cosine(10, 0.5)
    assert sorted(s.__all__) == sorted(set(s.__all__)) and all(hasattr(s, name) for name in s.__all__)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: s.cosine(0), r"cosine: steps must be a whole number of at least 1, got 0"),
        (lambda: s.cosine(-5), "got -5"),
        (lambda: s.cosine(2.5), "got 2.5"),
        (lambda: s.cosine(True), "got True"),
        (lambda: s.cosine(10, final=float("nan")), r"cosine: final must be a number in \[0, inf\], got nan"),
        (lambda: s.cosine(10)(-1), "cosine: step must be a finite number of at least 0, got -1"),
        (lambda: s.cosine(10)(np.array([3, -2])), "got -2.0 among them"),
        (lambda: s.cosine(10)(torch.tensor([-2])), "got -2.0 among them"),
        (lambda: s.cosine(10)(float("nan")), "got nan"),
        (lambda: s.cosine(10)("3"), "steps must be numbers"),
        (lambda: s.constant() >> s.cosine(10), r"constant\(\) never ends.*\.take\(steps\)"),
        (lambda: s.step(10).repeat(), "never ends"),
        (lambda: s.cosine(10).clip(0.5, 0.1), r"clip: high must be a number in \[0.5, inf\], got 0.1"),
        (lambda: s.cyclic(10, low=0.0, axis="log"), r"cyclic: low must be a number in \(0, 1\], got 0.0"),
        (lambda: s.cyclic(10, mode="square"), "cyclic: mode must be one of triangular"),
        (lambda: s.warmup.untuned(1.0), "beta2 must be below 1"),
        (lambda: s.wsd(10, 20), "stable and decay belong together"),
        (lambda: s.multi_step(()), "milestones must be a list"),
        (lambda: s.per_group(), "needs at least one schedule"),
        (lambda: s.create("cosin"), "unknown schedule 'cosin'; there are"),
        (lambda: s.create("cosine", step=3), "unknown option 'step'; it takes steps, final"),
        (lambda: s.create("cosine"), "cosine: .*steps"),
        (lambda: s.from_dict({"version": 9}), "version must be 1, got 9"),
        (lambda: s.from_dict({"version": 1, "schedule": 3}), "is not a schedule"),
        (lambda: s.parse("cosine(10) + 1"), "is not a schedule"),
        (lambda: s.parse("__import__('os')"), "unknown schedule '__import__'"),
        (lambda: s.parse("cosine(10).__class__"), "is not a schedule"),
        (lambda: s.parse("cosine(10"), "cannot be read"),
        (lambda: s.parse("3"), "not a schedule"),
        (lambda: s.parse("2 >> cosine(3)"), "is not a schedule"),
    ],
)  # fmt: skip
def test_bad_input(call, words):
    with pytest.raises(HyperparameterError, match=words):
        call()


def test_a_schedule_is_what_torchs_lambda_lr_wants(run):
    one = run()
    schedule = s.warmup(3) >> s.cosine(10)
    host = torch.optim.lr_scheduler.LambdaLR(one.optimizer, schedule.as_lambda())
    rates = [lr for (lr,) in one.follow(host, 15)]
    np.testing.assert_allclose(rates, 0.1 * schedule(np.arange(15)))
    assert host.state_dict()["lr_lambdas"] == [{}]

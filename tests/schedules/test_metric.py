"""Schedulers that listen to a metric: the plateau that composes, and the guarded raise."""

import numpy as np
import pytest
import torch

from accelerando import schedules as s
from accelerando.schedules.guard import Guard
from accelerando.schedules.trend import trend


def test_plateau_composes_with_warmup_and_cycle(run):
    one = run()
    cycle = s.CyclicLR(one.optimizer, 0.01, 0.1, 10, cycle_momentum=False)
    warm = s.ScheduledLR(one.optimizer, s.warmup(30))
    plateau = s.ReduceLROnPlateau(one.optimizer, factor=0.5, patience=0)
    pure = s.cyclic(10, low=0.1) * s.warmup(30)
    cuts = 0
    for t in range(100):
        assert one.lr == pytest.approx(0.1 * pure(t) * 0.5**cuts, rel=1e-12)
        one.optimizer.step()
        cycle.step()
        warm.step()
        if t in (10, 33, 60):
            plateau.step(1.0)
            cuts += t > 10
    assert plateau.cuts == 2 and plateau.best == 1.0


def test_plateau_per_step_averages_what_it_hears(run):
    rng = np.random.default_rng(0)
    noisy = 1.0 + 0.5 * rng.normal(size=2000)
    falling = np.linspace(3, 0, 2000) + 0.5 * rng.normal(size=2000)
    for values, cuts in ((noisy, True), (falling, False)):
        one = run()
        plateau = s.ReduceLROnPlateau(one.optimizer, patience=4, factor=0.5, every=100)
        for value in values:
            plateau.step(torch.tensor(value))
        assert (plateau.cuts > 0) == cuts


def test_floor_is_held_against_its_own_rate_not_the_foot_of_a_cycle(run):
    one = run()
    s.CyclicLR(one.optimizer, 0.001, 0.1, 10, cycle_momentum=False)
    plateau = s.ReduceLROnPlateau(one.optimizer, patience=0, min_lr=0.0)
    plateau.step(1.0)
    plateau.step(1.0)
    assert one.lr == pytest.approx(0.0001)


def test_trend_finds_a_slope_and_its_error():
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(400):
        found = trend((0.01 * np.arange(64) + rng.normal(size=64)).tolist())
        hits.append(abs(found.slope - 0.01) < 2 * found.error)
    assert 0.92 < np.mean(hits) <= 1.0
    wave = trend(np.sin(np.arange(64) / 10).tolist())
    assert wave.error > 3 * wave.noise / np.sqrt(((np.arange(64) - 31.5) ** 2).sum())
    flat = trend([1.0] * 10)
    assert (flat.slope, flat.error, flat.confidence) == (0.0, 0.0, 0.0)


def drive(scheduler, one, loss, steps):
    for t in range(steps):
        scheduler.step(loss(t, one.lr))


class Falling:
    """A loss whose speed is proportional to the rate up to a best one, and that rises beyond it."""

    def __init__(self, best, noise=0.01, seed=0):
        self.best, self.noise, self.value = best, noise, 10.0
        self.rng = np.random.default_rng(seed)

    def __call__(self, t, lr):
        x = lr / self.best
        self.value -= 0.01 * (x if x <= 1.5 else -3 * x)
        return self.value + self.noise * self.rng.normal()


@pytest.mark.parametrize("seed", range(5))
def test_a_rate_that_is_too_small_is_raised_and_stops_near_the_best(run, seed):
    one = run(lr=1e-4)
    scheduler = s.RaiseOnProgress(one.optimizer)
    drive(scheduler, one, Falling(best=1e-2, seed=seed), 4000)
    assert 2e-3 <= one.lr <= 1.6e-2
    assert [event[1] for event in scheduler.events].count("keep") >= 2


def test_noise_alone_raises_next_to_nothing(run):
    kept = 0
    for seed in range(20):
        one = run(lr=1e-4)
        rng = np.random.default_rng(seed)
        scheduler = s.RaiseOnProgress(one.optimizer)
        for _ in range(1000):
            scheduler.step(rng.normal())
        kept += one.lr > 1e-4 and not scheduler.guard.on_trial
    assert kept <= 3


def test_a_raise_that_hurts_is_taken_back_at_once(run):
    one = run(lr=1.0)
    scheduler = s.RaiseOnProgress(one.optimizer, growth=2.0, window=8)
    t = 0
    while one.lr == 1.0:
        scheduler.step(10.0 - 0.1 * t)
        t += 1
    assert one.lr == 2.0
    for _ in range(8):
        scheduler.step(50.0)
    assert one.lr == 1.0 and scheduler.events[-1][1] == "undo"


def test_a_metric_that_is_not_finite_ends_a_trial(run):
    one = run(lr=1.0)
    scheduler = s.RaiseOnProgress(one.optimizer, growth=2.0, window=8)
    for t in range(8):
        scheduler.step(10.0 - t)
    assert one.lr == 2.0
    with pytest.warns(UserWarning, match="the metric is nan"):
        scheduler.step(float("nan"))
    assert one.lr == 1.0 and scheduler.not_finite == 1


def test_what_was_kept_is_taken_back_when_it_goes_bad_later():
    guard = Guard(8, 2.0)
    heard = [guard.hear(10.0 - t, True) for t in range(8)]
    assert heard[-1] == "raise"
    heard = [guard.hear(2.0 - 2.5 * t, True) for t in range(9)]
    assert heard[-1] == "keep" and guard.kept == 1
    verdicts = [guard.hear(float(t), True) for t in range(100)]
    assert "retreat" in verdicts and guard.kept == 0


@pytest.mark.parametrize("options", [{"max_factor": 3.0}, {"max_lr": 3.0}])
def test_the_ceiling(run, options):
    one = run(lr=1.0)
    scheduler = s.RaiseOnProgress(one.optimizer, growth=2.0, window=8, **options)
    drive(scheduler, one, Falling(best=100.0, noise=0.0), 500)
    assert one.lr == pytest.approx(3.0)
    assert "the ceiling 3" in str(scheduler.describe())


def test_higher_is_better(run):
    one = run(lr=1e-4)
    scheduler = s.RaiseOnProgress(one.optimizer, mode="max")
    loss = Falling(best=1e-2)
    drive(scheduler, one, lambda t, lr: -loss(t, lr), 2000)
    assert one.lr > 1e-3


def test_it_composes(run):
    one = run(lr=1.0)
    raising = s.RaiseOnProgress(one.optimizer, growth=2.0, window=8)
    chained = s.ChainedScheduler([s.CosineAnnealingLR(one.optimizer, 100), raising])
    one.follow(chained, 50, feed=lambda t: 10.0 - t if t < 8 else None)
    assert one.lr == pytest.approx(2.0 * 0.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"growth": 1.0}, r"RaiseOnProgress: growth must be a number in \(1, inf\], got 1.0"),
        ({"window": 4}, "window must be a whole number of at least 8, got 4"),
        ({"max_lr": 0.01}, r"max_lr must be at least the rate it begins with, 0.1, got 0.01 \(group 0\)"),
        ({"mode": "down"}, "mode must be one of min, max"),
        ({"max_factor": 0.5}, "max_factor"),
        ({"sure": 0}, "sure"),
        ({"every": 0}, "every"),
    ],
)
def test_bad_options_of_the_raise(options, words, run):
    with pytest.raises(ValueError, match=words):
        s.RaiseOnProgress(run().optimizer, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 1.0}, r"ReduceLROnPlateau: factor must be a number in \(0, 1\], got 1.0"),
        ({"patience": -1}, "patience must be a whole number of at least 0, got -1"),
        ({"mode": "sideways"}, "mode must be one of min, max"),
        ({"threshold_mode": "relative"}, "threshold_mode must be one of rel, abs"),
        ({"min_lr": [0.1, 0.2]}, "min_lr must be one number or one for each of the 1 groups, got 2"),
    ],
)
def test_bad_options_of_the_plateau(options, words, run):
    with pytest.raises(ValueError, match=words):
        s.ReduceLROnPlateau(run().optimizer, **options)

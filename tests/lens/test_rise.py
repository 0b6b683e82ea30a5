import math
from types import SimpleNamespace

import numpy as np
import pytest

from accelerando.lens import rise_of


def readings(gain, norm, nominal=None):
    nominal = np.ones_like(gain) if nominal is None else nominal
    return [
        SimpleNamespace(step=i + 1, gain=float(g), grad_norm=float(n), nominal=float(r))
        for i, (g, n, r) in enumerate(zip(gain, norm, nominal, strict=True))
    ]


def noise(n, size, seed):
    return np.exp(size * np.random.default_rng(seed).standard_normal(n))


@pytest.mark.parametrize("n", [12, 40, 150])
@pytest.mark.parametrize("fall", [0.0, 4.0])
def test_a_falling_gradient_alone_is_not_a_rise(n, fall):
    found = 0
    for seed in range(60):
        norm = noise(n, 0.3, seed) * np.exp(-np.linspace(0, fall, n))
        found += rise_of(readings(noise(n, 0.1, seed + 1000) / norm, norm)) is not None
    assert found <= 1


@pytest.mark.parametrize("size", [0.0, 0.02, 0.2])
def test_a_jump_is_found_where_it_is_and_as_large_as_it_is(size):
    n, factor = 100, 4.0
    for seed in range(20):
        norm = noise(n, size, seed) * np.exp(-np.linspace(0, 3, n))
        up = np.where(np.arange(n) >= 60, factor, 1.0)
        step, seen = rise_of(readings(up * noise(n, size / 4, seed + 99) / norm, norm))
        assert abs(step - 61) <= 3
        assert math.isclose(seen, factor, rel_tol=0.02 + size)


def test_a_warm_up_counts_in_full_though_the_gradient_falls():
    nominal = np.concatenate([np.geomspace(0.001, 0.1, 30), np.full(70, 0.1)])
    norm = np.geomspace(1, 0.1, 100)
    step, factor = rise_of(readings(nominal, norm, nominal))
    assert 60 < factor <= 100 and 10 < step < 25
    _, adaptive = rise_of(readings(nominal / norm, norm, nominal))
    assert 60 < adaptive <= 100


def test_a_fall_after_a_rise_does_not_hide_it():
    gain = np.concatenate([np.full(20, 1.0), np.full(20, 3.0), np.full(60, 0.01)])
    assert rise_of(readings(gain, np.ones(100))) == (21, pytest.approx(3.0))


def test_single_odd_steps_are_not_a_rise():
    gain = np.ones(100)
    gain[[10, 40, 41, 77]] = 50.0
    assert rise_of(readings(gain, np.ones(100))) is None


def test_too_few_readings_tell_nothing():
    assert rise_of(readings(np.array([1.0, 1, 1, 9, 9]), np.ones(5))) is None
    assert rise_of([]) is None


def test_a_rise_below_the_least_is_not_called_one():
    gain = np.where(np.arange(100) < 50, 1.0, 1.05)
    assert rise_of(readings(gain, np.ones(100))) is None
    assert rise_of(readings(gain, np.ones(100)), least=1.02) == (51, pytest.approx(1.05))


def test_readings_without_a_gain_are_left_out():
    gain = np.where(np.arange(100) < 50, 1.0, 2.0)
    gain[[3, 70]] = [0.0, np.nan]
    assert rise_of(readings(gain, np.ones(100))) == (51, pytest.approx(2.0))


def test_a_rise_of_the_nominal_rate_counts_and_is_gone_per_nominal_rate():
    nominal = np.where(np.arange(100) < 50, 1.0, 3.0)
    gain = nominal * np.where(np.arange(100) < 50, 1.0, 2.0)
    assert rise_of(readings(gain, np.ones(100), nominal)) == (51, pytest.approx(6.0))
    assert rise_of(readings(gain / nominal, np.ones(100))) == (51, pytest.approx(2.0))
    assert rise_of(readings(nominal, np.ones(100), nominal)) == (51, pytest.approx(3.0))

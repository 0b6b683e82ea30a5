"""A rule that uses every feature, against the same arithmetic written by hand."""

import copy
from itertools import chain

import numpy as np
import pytest
import torch

from accelerando.errors import RuleError
from accelerando.rule import NonNegative, Optimizer, sqrt, where


class Everything(Optimizer):
    """Sums over tensor, group and all; memory; a buffer that starts at the parameter; carried and old values."""

    lr: NonNegative = 0.1
    start: NonNegative = 2.0

    buffers = {"origin": "param", "mean": "zeros"}
    sums = {"gg": "group", "pp": "all"}
    memory = {"scale": "start", "count": 0.0}

    @staticmethod
    def scalars(t, lr):
        late = lr / t
        return late

    @staticmethod
    def direction(p, g, origin, mean, scale):
        mean = 0.5 * mean + 0.5 * g
        gg = g * g
        pp = p * p
        return scale * mean, origin, mean, gg, pp

    @staticmethod
    def decide(gg, pp, scale, count):
        count = count + 1
        scale = where(gg > pp, 0.5 * scale, scale)
        size = 1 / (1 + sqrt(gg))
        return size, scale, count

    @staticmethod
    def apply(p, u, origin, old_mean, late, size):
        return p - late * size * u + 0.01 * (origin - p) + 0.001 * old_mean


class Later(Optimizer):
    """A decision for the next step."""

    lr: NonNegative = 0.1
    sums = {"gg": "all"}
    memory = {"rate": "lr"}
    when = "next"

    @staticmethod
    def direction(g):
        gg = g * g
        return g, gg

    @staticmethod
    def decide(gg, rate):
        rate = rate * 1.5
        return rate

    @staticmethod
    def apply(p, u, rate):
        return p - rate * u


class Layerwise(Optimizer):
    """Memory per tensor, which starts at a hyperparameter."""

    lr: NonNegative = 0.5
    sums = {"gg": "tensor"}
    memory = {"rate": "lr"}

    @staticmethod
    def direction(g):
        gg = g * g
        return g, gg

    @staticmethod
    def decide(gg, rate):
        rate = rate / (1 + gg)
        return rate

    @staticmethod
    def apply(p, u, rate):
        return p - rate * u


def by_hand(starts, gradients, lr=0.1):
    """`Everything`, two groups, in NumPy."""
    ps = [[p.copy() for p in group] for group in starts]
    means = [[np.zeros_like(p) for p in group] for group in starts]
    scales = [2.0, 2.0]
    for t, step in enumerate(gradients, start=1):
        everything = sum((p**2).sum() for group in ps for p in group)
        for k, group in enumerate(ps):
            gg = sum((g**2).sum() for g in step[k])
            size, used = 1 / (1 + np.sqrt(gg)), scales[k]
            for j, g in enumerate(step[k]):
                old = means[k][j]
                means[k][j] = 0.5 * old + 0.5 * g
                u = used * means[k][j]
                ps[k][j] = group[j] - lr / t * size * u + 0.01 * (starts[k][j] - group[j]) + 0.001 * old
            scales[k] = 0.5 * used if gg > everything else used
    return ps, scales


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    starts = [[rng.normal(size=3), rng.normal(size=(2, 2))], [rng.normal(size=4)]]
    gradients = [[[3 * rng.normal(size=p.shape) for p in group] for group in starts] for _ in range(6)]
    return starts, gradients


def feed(params, step):
    for group, gs in zip(params, step, strict=True):
        for p, g in zip(group, gs, strict=True):
            p.grad = torch.tensor(g)


def test_every_feature_at_once(problem):
    starts, gradients = problem
    params = [[torch.nn.Parameter(torch.tensor(p)) for p in group] for group in starts]
    optimizer = Everything([{"params": group} for group in params])
    for step in gradients:
        feed(params, step)
        optimizer.step()
    want, scales = by_hand(starts, gradients)
    for got, expected in zip([*chain.from_iterable(params)], [*chain.from_iterable(want)], strict=True):
        np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-13)
    assert [g["scale"] for g in optimizer.param_groups] == scales
    assert scales != [2.0, 2.0]
    assert [g["count"] for g in optimizer.param_groups] == [6.0, 6.0]


def test_memory_is_saved(problem):
    starts, gradients = problem
    params = [[torch.nn.Parameter(torch.tensor(p)) for p in group] for group in starts]
    optimizer = Everything([{"params": group} for group in params])
    for step in gradients[:3]:
        feed(params, step)
        optimizer.step()
    twins = copy.deepcopy(params)
    twin = Everything([{"params": group} for group in twins])
    twin.load_state_dict(optimizer.state_dict())
    for step in gradients[3:]:
        for ps, o in ((params, optimizer), (twins, twin)):
            feed(ps, step)
            o.step()
    for a, b in zip([*chain.from_iterable(params)], [*chain.from_iterable(twins)], strict=True):
        assert torch.equal(a, b)


def test_a_decision_for_the_next_step():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = Later([p])
    moved = []
    for _ in range(3):
        before = p.item()
        p.grad = torch.ones(1)
        optimizer.step()
        moved.append(before - p.item())
    np.testing.assert_allclose(moved, [0.1, 0.15, 0.225], rtol=1e-6)


def test_memory_per_tensor_is_kept_with_the_tensor():
    params = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = Layerwise(params)
    for _ in range(2):
        for p, slope in zip(params, (1.0, 2.0), strict=True):
            p.grad = torch.full((1,), slope)
        optimizer.step()
    assert [float(optimizer.state[p]["rate"]) for p in params] == [0.125, 0.02]
    twin = Layerwise([torch.nn.Parameter(p.detach().clone()) for p in params])
    twin.load_state_dict(optimizer.state_dict())
    assert [float(s["rate"]) for s in twin.state.values()] == [0.125, 0.02]
    assert "rate" not in optimizer.param_groups[0]


class TestOutsideTheGrammar:
    def test_a_branch(self):
        with pytest.raises(RuleError, match=r"Bad.direction: If .* outside the rule grammar \(line 3"):

            class Bad(Optimizer):
                lr: NonNegative = 0.1

                @staticmethod
                def direction(g):
                    if g > 0:
                        g = -g
                    return g

    def test_a_call(self):
        with pytest.raises(RuleError, match=r"Bad.direction: Call 'g.sum\(\)'"):

            class Bad(Optimizer):
                lr: NonNegative = 0.1

                @staticmethod
                def direction(g):
                    u = g.sum()
                    return u

    def test_a_name_from_outside(self):
        with pytest.raises(RuleError, match=r"'torch' is neither an argument nor assigned|Call 'torch\.sqrt"):

            class Bad(Optimizer):
                lr: NonNegative = 0.1

                @staticmethod
                def direction(g):
                    return torch.sqrt(g)

    def test_an_argument_nobody_has(self):
        with pytest.raises(RuleError, match=r"Bad.direction: there is no 'momentum' to pass"):

            class Bad(Optimizer):
                lr: NonNegative = 0.1

                @staticmethod
                def direction(g, momentum):
                    return momentum * g

    def test_a_sum_without_its_term(self):
        with pytest.raises(RuleError, match="must return 'gg'"):

            class Bad(Optimizer):
                lr: NonNegative = 0.1
                sums = {"gg": "tensor"}

                @staticmethod
                def direction(g):
                    return g

                @staticmethod
                def decide(gg):
                    size = gg
                    return size

    def test_a_field_without_default(self):
        with pytest.raises(RuleError, match="lr needs a default"):

            class Bad(Optimizer):
                lr: NonNegative

                @staticmethod
                def direction(g):
                    return g


def test_source_that_cannot_be_read():
    text = "class Bad(Optimizer):\n    lr: NonNegative = 0.1\n    direction = staticmethod(lambda g: g)\n"
    with pytest.raises(RuleError, match="write the class in a file"):
        exec(text, {"Optimizer": Optimizer, "NonNegative": NonNegative, "__name__": "nowhere"})


def test_a_state_that_was_only_looked_at_is_none():
    params = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = Layerwise(params)
    assert optimizer.state[params[0]] == {}
    params[1].grad = torch.ones(1)
    optimizer.step()
    optimizer.step()
    assert float(optimizer.state[params[1]]["step"]) == 2
    assert not torch.equal(params[1], torch.zeros(1))


def test_a_term_that_is_a_number_counts_at_every_element():
    class Counted(Optimizer):
        lr: NonNegative = 1.0
        sums = {"ones": "tensor"}

        @staticmethod
        def direction(g, lr):
            ones = lr
            return g, ones

        @staticmethod
        def decide(ones):
            share = 1 / ones
            return share

        @staticmethod
        def apply(p, u, share):
            return p - share * u

    for backend in ("eager", "cpu"):
        p = torch.nn.Parameter(torch.zeros(4))
        p.grad = torch.ones(4)
        Counted([p], backend=backend).step()
        assert torch.equal(p, torch.full((4,), -0.25))

"""Two modes: the weights of training, and the average that is evaluated."""

import copy
import pickle
import warnings

import pytest
import torch

from accelerando import ScheduleFreeAdamW
from accelerando.errors import ModeWarning, StateError

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)


def model(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).to(dtype)


def train(net, optimizer, steps=10, seed=1):
    source = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 4, generator=source).to(next(net.parameters()).dtype)
        optimizer.zero_grad()
        (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()


def weights(net):
    return [p.detach().clone() for p in net.parameters()]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@DTYPES
def test_there_and_back_to_the_bit(dtype):
    net = model(dtype)
    optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1)
    train(net, optimizer)
    before = weights(net)
    optimizer.eval()
    averaged = weights(net)
    assert not same(before, averaged)
    assert same(averaged, [optimizer.state[p]["x"].to(dtype) for p in net.parameters()])
    optimizer.eval()
    assert same(weights(net), averaged)
    optimizer.train()
    optimizer.train()
    assert same(weights(net), before)
    optimizer.train(False)
    assert same(weights(net), averaged)


@DTYPES
def test_looking_changes_nothing(dtype):
    """A run that is evaluated after every step is the run that never is."""
    looked, left = model(dtype), model(dtype)
    one, other = (ScheduleFreeAdamW(net.parameters(), lr=0.1) for net in (looked, left))
    for k in range(10):
        train(looked, one, 1, seed=k)
        one.eval()
        one.train()
        train(left, other, 1, seed=k)
    assert same(weights(looked), weights(left))


def test_before_the_first_step_the_two_are_one():
    net = model()
    optimizer = ScheduleFreeAdamW(net.parameters())
    before = weights(net)
    optimizer.eval()
    assert same(weights(net), before)
    optimizer.train()
    train(net, optimizer, 1)


def test_a_step_on_the_average_is_refused_and_changes_nothing():
    net = model()
    optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1)
    train(net, optimizer)
    optimizer.eval()
    before = weights(net)
    with pytest.raises(
        StateError, match=r"ScheduleFreeAdamW: step\(\) needs the weights of training.*call train\(\)"
    ):
        optimizer.step()
    assert same(weights(net), before)
    optimizer.train()
    train(net, optimizer, 1)


@pytest.mark.parametrize("averaged", [False, True])
def test_a_checkpoint_is_right_in_either_mode(averaged):
    net = model(torch.bfloat16)
    optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1, warmup_steps=3)
    train(net, optimizer)
    if averaged:
        optimizer.eval()
    other = model(torch.bfloat16)
    resumed = ScheduleFreeAdamW(other.parameters())
    saved = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.in_training is not averaged
    for each in (optimizer, resumed):
        each.train()
    train(net, optimizer, seed=2)
    train(other, resumed, seed=2)
    assert same(weights(net), weights(other))
    for each in (optimizer, resumed):
        each.eval()
    assert same(weights(net), weights(other))


def test_without_momentum_the_average_is_still_there():
    net = model()
    optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1, betas=(0.0, 0.99))
    train(net, optimizer)
    assert same(weights(net), [optimizer.state[p]["z"] for p in net.parameters()])
    optimizer.eval()
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert not same(weights(net), [optimizer.state[p]["z"] for p in net.parameters()])


def test_bfloat16_weights_do_not_stop_the_average():
    """A step of a thousandth rounds away in the weights of one; z and x keep it."""
    p = torch.nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
    optimizer = ScheduleFreeAdamW([p], lr=1e-3)
    for _ in range(100):
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert torch.allclose(optimizer.state[p]["z"], torch.tensor(0.9), atol=1e-4)
    optimizer.eval()
    assert torch.allclose(p.float(), torch.tensor(1 - 50.5e-3), atol=2e-3)


@pytest.mark.peers
def test_bfloat16_weights_stop_schedulefrees():
    schedulefree = pytest.importorskip("schedulefree")
    p = torch.nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
    optimizer = schedulefree.AdamWScheduleFree([p], lr=1e-3)
    optimizer.train()
    for _ in range(100):
        p.grad = torch.ones_like(p)
        optimizer.step()
    optimizer.eval()
    assert torch.equal(p, torch.ones_like(p))


class TestWatch:
    def test_evaluating_the_weights_of_training_is_said_once(self):
        net = model()
        optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1)
        optimizer.watch(net)
        train(net, optimizer)
        net.eval()
        with pytest.warns(ModeWarning, match=r"runs in evaluation mode .*; call eval\(\) of the optimizer"):
            net(torch.zeros(1, 4))
        net(torch.zeros(1, 4))  # a second warning would be an error

    def test_so_is_training_on_the_average(self):
        net = model()
        optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1)
        optimizer.watch(net)
        train(net, optimizer)
        optimizer.eval()
        with pytest.warns(ModeWarning, match=r"runs in training mode .*; call train\(\) of the optimizer"):
            net(torch.zeros(1, 4))

    def test_what_is_right_is_not_remarked_upon(self):
        net = model()
        optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1)
        handle = optimizer.watch(net)
        net.eval()
        net(torch.zeros(1, 4))  # before the first step the two are one
        net.train()
        train(net, optimizer)
        for part in (net, optimizer):
            part.eval()
        net(torch.zeros(1, 4))
        handle.remove()
        optimizer.train()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net(torch.zeros(1, 4))

    def test_the_model_can_be_copied_and_pickled(self):
        net = model()
        optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1)
        optimizer.watch(net)
        train(net, optimizer)
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            twin.eval()
            twin(torch.zeros(1, 4))


def test_a_group_added_in_mid_run_is_in_training():
    net, more = model(), torch.nn.Parameter(torch.ones(3))
    optimizer = ScheduleFreeAdamW(net.parameters(), lr=0.1)
    train(net, optimizer)
    optimizer.add_param_group({"params": [more]})
    more.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.in_training
    optimizer.eval()
    assert [g["train_mode"] for g in optimizer.param_groups] == [False, False]

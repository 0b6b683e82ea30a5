"""The shell: options, state interchange with torch, schedulers, compiled steps."""

import copy
import inspect

import pytest
import torch

import accelerando
from accelerando import LAMB, Adam, AdamW, RAdam, optim, param_groups
from accelerando.errors import BackendWarning, HyperparameterError, StateError, UnsupportedTensorError

CLASSES = [getattr(accelerando, name) for name in optim.list()]


def model(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def train(net, optimizer, steps, seed=1):
    stream = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 4, generator=stream)
        optimizer.zero_grad()
        (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()


PAIRS = [
    (Adam, torch.optim.Adam, {}),
    (Adam, torch.optim.Adam, {"amsgrad": True}),
    (AdamW, torch.optim.AdamW, {}),
]


@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS, ids=str)
@pytest.mark.parametrize("direction", ["from torch", "to torch"])
def test_state_travels_both_ways(ours, theirs, options, direction):
    first, second = (theirs, ours) if direction == "from torch" else (ours, theirs)
    net = model()
    before = first(net.parameters(), lr=0.01, **options)
    train(net, before, 5)
    twin = copy.deepcopy(net)
    after = second(twin.parameters(), lr=0.5)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    train(net, before, 5, seed=2)
    train(twin, after, 5, seed=2)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_torch_radam_checkpoint_means_threshold_five():
    net = model()
    torchs = torch.optim.RAdam(net.parameters(), lr=0.01)
    train(net, torchs, 3)
    ours = RAdam(model().parameters())
    with pytest.warns(BackendWarning, match="rectify_threshold; it is taken as 5"):
        ours.load_state_dict(torchs.state_dict())
    assert ours.param_groups[0]["rectify_threshold"] == 5


@pytest.mark.parametrize("options", [{}, {"cycle_momentum": False}])
def test_the_code_everyone_copies(options):
    net = model()
    optimizer = LAMB(net.parameters(), lr=1e-5)
    schedule = torch.optim.lr_scheduler.CyclicLR(
        optimizer, base_lr=1e-5, max_lr=1e-3, step_size_up=2000, mode="triangular", **options
    )
    for _ in range(3):
        train(net, optimizer, 1)
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5 + 3 * (1e-3 - 1e-5) / 2000)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_compiled_step_is_the_plain_one(cls):
    def run(compiled):
        torch._dynamo.reset()
        net = model()
        optimizer = cls(net.parameters(), lr=0.01)

        def once(x):
            optimizer.zero_grad()
            (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
            optimizer.step()

        once = torch.compile(once, backend="eager") if compiled else once
        stream = torch.Generator().manual_seed(1)
        for _ in range(20):
            once(torch.randn(16, 4, generator=stream))
        return list(net.parameters())

    for a, b in zip(run(False), run(True), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("cls", CLASSES)
def test_clipping_is_torchs_clipping(cls):
    a, b = model(), model()
    ours, other = cls(a.parameters(), lr=0.01, max_grad_norm=0.05), cls(b.parameters(), lr=0.01)
    for _ in range(5):
        for net, optimizer in ((a, ours), (b, other)):
            optimizer.zero_grad()
            (10 * net(torch.ones(2, 4))).square().mean().backward()
            if optimizer is other:
                torch.nn.utils.clip_grad_norm_(net.parameters(), 0.05)
            optimizer.step()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_nonfinite_gradients():
    for policy in ("propagate", "skip", "raise"):
        p = torch.nn.Parameter(torch.ones(2))
        optimizer = Adam([p], on_nonfinite=policy)
        p.grad = torch.tensor([1.0, float("nan")])
        if policy == "raise":
            with pytest.raises(FloatingPointError, match="group 0, parameter 0"):
                optimizer.step()
        else:
            optimizer.step()
        assert bool(p.isnan().any()) == (policy == "propagate")
        assert float(optimizer.state[p]["step"]) == (policy == "propagate")


def one():
    return [torch.nn.Parameter(torch.ones(2))]


def test_bad_calls_say_field_constraint_value_place_and_way_out():
    with pytest.raises(HyperparameterError, match="LAMB: there is no option 'wieght_decay'; the options are"):
        LAMB(one(), wieght_decay=0.1)
    with pytest.raises(HyperparameterError, match=r"LAMB: betas\[1\] must be in \[0, 1\), got 1.2"):
        LAMB(one(), betas=(0.9, 1.2))
    with pytest.raises(HyperparameterError, match=r"Adam: lr must be in \[0, inf\), got -1 \(group 1\)"):
        Adam([{"params": one()}, {"params": one(), "lr": -1}])
    with pytest.raises(HyperparameterError, match="differentiable=True is refused"):
        Adam(one(), differentiable=True)
    with pytest.raises(HyperparameterError, match="no method is called 'sofia'; there are"):
        optim.create("sofia", one())
    with pytest.raises(UnsupportedTensorError, match="complex parameters need an elementwise rule"):
        LAMB([torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    with pytest.raises(ValueError, match=r"more than one parameter group|duplicate"):
        p = one()
        Adam([{"params": p}, {"params": p}])


def test_sparse_gradients_and_misfit_state():
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = Adam(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(UnsupportedTensorError, match=r"gradients must be dense.*use sparse=False"):
        optimizer.step()
    net, other = model(), torch.nn.Linear(3, 3)
    saved = Adam(other.parameters())
    other(torch.ones(1, 3)).sum().backward()
    saved.step()
    wrong = Adam(list(net.parameters())[:2])
    with pytest.raises(StateError, match=r"exp_avg of parameter 0 has shape \(3, 3\)"):
        wrong.load_state_dict(saved.state_dict())


def test_complex_parameters_are_pairs_of_reals():
    start = torch.randn(3, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    p, q = torch.nn.Parameter(start.clone()), torch.nn.Parameter(torch.view_as_real(start).clone())
    a, b = AdamW([p], lr=0.1), AdamW([q], lr=0.1)
    for _ in range(3):
        p.grad, q.grad = (2 * p).detach(), (2 * q).detach()
        a.step()
        b.step()
    assert torch.equal(torch.view_as_real(p.detach()), q.detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_parameters_keep_float32_state(dtype):
    p = torch.nn.Parameter(torch.ones(4, dtype=dtype))
    optimizer = AdamW([p])
    p.grad = torch.full_like(p, 0.1)
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].dtype == torch.float32
    twin = AdamW([torch.nn.Parameter(p.detach().clone())])
    twin.load_state_dict(optimizer.state_dict())
    (loaded,) = twin.state.values()
    assert torch.equal(loaded["exp_avg"], optimizer.state[p]["exp_avg"])


def test_signatures_and_names():
    assert optim.list("ada*") == ["AdaBelief", "Adam", "AdamW"]
    assert isinstance(optim.create("lamb", one(), lr=0.1), LAMB)
    assert list(inspect.signature(LAMB).parameters)[:3] == ["params", "lr", "betas"]


def test_groups_by_layer():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    groups = param_groups(net, weight_decay=0.1, layer_decay=0.5, lr=1.0)
    assert sorted((g["lr"], g["weight_decay"]) for g in groups) == [
        (0.5, 0.0),
        (0.5, 0.1),
        (1.0, 0.0),
        (1.0, 0.1),
    ]
    AdamW(groups)
    with pytest.raises(HyperparameterError, match="layer_decay needs lr"):
        param_groups(net, layer_decay=0.5)

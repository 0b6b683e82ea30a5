"""What store policies cost, what of them stays when a run is saved or changed, and what is refused."""

import copy
import doctest
import io
from pathlib import Path

import pytest
import torch

from accelerando import AdamW
from accelerando.engine import options
from accelerando.engine.cpu import source
from accelerando.engine.cpu.source import Kernel, Scheme
from accelerando.errors import BackendWarning, HyperparameterError, RuleError, StateError

from .storing import (
    BACKENDS,
    BF16,
    F16,
    POLICIES,
    RESUMED,
    Momentum,
    assert_same,
    parameters,
    short,
    state_of,
    train,
    walk,
)

# --- what it costs, and what stays ---

BYTES = [
    ({}, 2, 8), ({"store": "stochastic"}, 2, 8), ({"store": "compensated"}, 2, 10),
    ({"state_dtype": "bf16"}, 2, 4), ({"store": "compensated", "state_dtype": "bf16"}, 2, 6),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "weight", "state"), BYTES, ids=short)
def test_bytes_per_parameter(settings, weight, state):
    p = torch.nn.Parameter(torch.ones(1000, dtype=BF16))
    optimizer = AdamW([p], **settings)
    p.grad = torch.ones_like(p)
    optimizer.step()
    kept = [v for v in optimizer.state[p].values() if v.ndim]
    assert p.element_size() == weight and sum(v.element_size() for v in kept) == state


def saved_and_loaded(params, optimizer):
    file = io.BytesIO()
    torch.save({"params": [p.detach() for p in params], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    twins = [torch.nn.Parameter(p) for p in loaded["params"]]
    other = type(optimizer)(twins, lr=0.5)
    other.load_state_dict(loaded["optimizer"])
    return twins, other


def copied(params, optimizer):
    return copy.deepcopy((params, optimizer))


@pytest.mark.parametrize("how", [saved_and_loaded, copied], ids=short)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("cls", "settings"), RESUMED, ids=short)
def test_a_run_goes_on_to_the_bit(cls, settings, backend, how):
    params, optimizer = walk(cls, backend, steps=3, store_seed=11, **settings)
    twins, other = how(params, optimizer)
    for each in (optimizer, other):
        train(each, 3, seed=2)
    assert other.param_groups[0]["store_seed"] == 11
    assert_same((params, optimizer), (twins, other))


def test_a_remainder_that_was_cast_is_not_loaded():
    _, optimizer = walk(AdamW, "cpu", store="compensated")
    saved = optimizer.state_dict()
    saved["state"][0]["remainder"] = saved["state"][0]["remainder"].to(BF16)
    with pytest.raises(StateError, match=r"remainder of parameter 0 must be torch.int16, got torch.bfloat16"):
        AdamW(parameters(BF16), store="compensated").load_state_dict(saved)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_policy_may_change_between_steps(backend):
    params, optimizer = walk(AdamW, backend)
    optimizer.param_groups[0].update(store="compensated", state_dtype="bf16")
    train(optimizer, 2, seed=2)
    assert {n for n, _ in state_of(optimizer)} == {"step", "exp_avg", "exp_avg_sq", "remainder"}
    assert optimizer.state[params[0]]["exp_avg"].dtype == BF16
    optimizer.param_groups[0].update(store="nearest", state_dtype=None)
    train(optimizer, 1, seed=3)
    assert {n for n, _ in state_of(optimizer)} == {"step", "exp_avg", "exp_avg_sq"}
    assert optimizer.state[params[0]]["exp_avg"].dtype == torch.float32


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("settings", POLICIES, ids=short)
def test_what_is_no_number_stays_none(settings, backend):
    p = torch.nn.Parameter(torch.tensor([1.0, torch.nan, torch.inf, -torch.inf], dtype=BF16))
    optimizer = Momentum([p], backend=backend, **settings)
    p.grad = torch.tensor([torch.nan, 1.0, 1.0, 1.0], dtype=BF16)
    optimizer.step()
    assert p[:2].isnan().all() and p[2] == torch.inf and p[3] == -torch.inf
    assert optimizer.state[p]["trace"][0].isnan()


# --- refusals ---

REFUSED = [
    (
        F16,
        {"store": "compensated"},
        r"store='compensated' needs bfloat16 parameters, got torch.float16 \(group 0",
    ),
    (
        torch.complex64,
        {"state_dtype": "bf16"},
        "state_dtype='bf16' needs real parameters, got torch.complex64",
    ),
    (
        BF16,
        {"store": "sometimes"},
        "store must be one of 'nearest', 'stochastic', 'compensated', got 'sometimes'",
    ),
    (BF16, {"store_seed": -1}, r"store_seed must be a whole number in \[0, 4294967296\), got -1"),
    (BF16, {"store_seed": 1.5}, "store_seed must be a whole number"),
    (BF16, {"state_dtype": "fp8"}, "state_dtype must be one of None, 'bf16', got 'fp8'"),
]


@pytest.mark.parametrize(("dtype", "settings", "message"), REFUSED, ids=short)
def test_what_cannot_be_meant_is_refused(dtype, settings, message):
    with pytest.raises(HyperparameterError, match=message):
        AdamW([torch.nn.Parameter(torch.zeros(2, dtype=dtype))], **settings)


def test_no_rule_may_call_a_buffer_remainder():
    with pytest.raises(RuleError, match="'remainder' of buffers is taken by the engine"):

        class Taken(Momentum):
            buffers = ("remainder",)

            @staticmethod
            def direction(g, remainder):
                remainder = remainder + g
                return remainder, remainder


def test_who_asks_for_nothing_pays_nothing():
    plain = source.text(Kernel(AdamW.rules[None], Scheme("bf16", "bf16", "f32"), False))
    assert "rounding" not in plain and "drawn_" not in plain
    optimizer = walk(AdamW, "cpu")[1]
    assert not any(lot.draws for lot in optimizer._plan.lots)


def test_a_policy_that_changes_nothing_is_said_once(monkeypatch):
    monkeypatch.setattr(options, "_said", set())
    with pytest.warns(BackendWarning, match=r"store='stochastic' changes nothing for torch.float32") as said:
        AdamW(parameters(torch.float32), store="stochastic")
    assert len(said) == 1
    params = parameters(torch.float32)
    optimizer = AdamW(params, store="stochastic")  # not again
    train(optimizer, 2)
    plain = parameters(torch.float32)
    train(AdamW(plain), 2)
    assert all(torch.equal(p, q) for p, q in zip(params, plain, strict=True))


def test_the_guide():
    text = (Path(__file__).parents[2] / "docs/guide/low-precision.md").read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_doctest(text, {}, "low-precision.md", None, 0)
    assert len(examples.examples) == 5
    assert doctest.DocTestRunner().run(examples).failed == 0

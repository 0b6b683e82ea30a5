"""Synthetic truth: gradients for which every number is known in closed form."""

import math

import pytest
import torch
from torch import nn

import accelerando
from accelerando.lens import Lens

CAUSES = (
    "schedule", "bias_correction", "second_moment", "rectification", "trust_ratio",
    "distance", "agreement", "clipping", "decay", "probe", "rise", "settle", "method",
)  # fmt: skip


def record(optimizer, p, gradients, rates=None):
    with Lens(optimizer, every=1) as lens:
        for i, g in enumerate(gradients):
            if rates:
                optimizer.param_groups[0]["lr"] = rates[i]
            p.grad = torch.tensor(g, dtype=torch.float64)
            optimizer.step()
    rows = lens.table("tensor")
    for row in lens.table():
        if not row["gain"]:
            continue
        total = sum(row[f"log_{cause}"] for cause in CAUSES)
        assert total == pytest.approx(math.log(row["gain"]), abs=1e-9)
    return rows


def weights(*values):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def shares(row):
    return {cause: row[f"log_{cause}"] for cause in CAUSES if abs(row[f"log_{cause}"]) > 1e-7}


def test_sgd_with_momentum():
    p = weights(1.0, 2.0)
    rows = record(torch.optim.SGD([p], lr=0.1, momentum=0.5), p, [[3.0, 4.0]] * 3, [0.1, 0.1, 0.2])
    for row, factor, lr in zip(rows, (1, 1.5, 1.75), (0.1, 0.1, 0.2), strict=True):
        assert row["gain"] == pytest.approx(lr * factor)
        assert row["lr"] == lr
        assert row["alignment"] == pytest.approx(1)
        assert row["effective"] == pytest.approx(lr * factor)
        assert row["grad_norm"] == pytest.approx(5)
        assert row["update_rms"] == pytest.approx(5 * lr * factor / math.sqrt(2))
        expected = {"schedule": math.log(lr)} | ({"agreement": math.log(factor)} if factor > 1 else {})
        assert shares(row) == pytest.approx(expected, abs=1e-6)
    assert rows[0]["relative_update"] == pytest.approx(0.5 / math.sqrt(5))


def test_sgd_decay_through_the_gradient():
    p = weights(3.0, 0.0)
    (row,) = record(torch.optim.SGD([p], lr=0.1, weight_decay=0.5), p, [[0.0, 2.0]])
    assert shares(row) == pytest.approx({"schedule": math.log(0.1), "decay": math.log(2.5 / 2)}, abs=1e-6)
    assert row["decay"] == pytest.approx(0.05)
    assert row["decay_share"] == pytest.approx(0.15 / (0.15 + 0.2))


@pytest.mark.parametrize("t", [1, 2, 10])
def test_adam_under_a_constant_gradient(t):
    p = weights(1.0, 1.0)
    adam = torch.optim.Adam([p], lr=0.01, eps=0.0)
    row = record(adam, p, [[3.0, -4.0]] * t)[-1]
    assert row["gain"] == pytest.approx(0.01 * math.sqrt(2) / 5)
    assert row["alignment"] == pytest.approx(7 / (5 * math.sqrt(2)))
    assert shares(row) == pytest.approx(
        {"schedule": math.log(0.01), "second_moment": math.log(math.sqrt(2) / 5)}, abs=1e-6
    )
    assert row["rate_q05"] == pytest.approx(0.01 * (0.25 + 0.05 * (1 / 3 - 0.25)), rel=1e-5)
    assert row["rate_q95"] == pytest.approx(0.01 * (0.25 + 0.95 * (1 / 3 - 0.25)), rel=1e-5)


def test_adam_under_an_alternating_gradient():
    p = weights(0.0)
    b1, b2 = 0.9, 0.99
    signs = [(-1.0) ** i for i in range(7)]
    rows = record(torch.optim.Adam([p], lr=0.1, betas=(b1, b2), eps=0.0), p, [[2 * s] for s in signs])
    for t, row in enumerate(rows, start=1):
        m = sum((1 - b1) * b1 ** (t - 1 - i) * signs[i] for i in range(t)) / (1 - b1**t)
        expected = {"schedule": math.log(0.1), "second_moment": math.log(0.5)}
        if t > 1:
            expected["agreement"] = math.log(abs(m))
        assert shares(row) == pytest.approx(expected, abs=1e-6)
        if t < len(rows):
            assert row["agreement"] == math.copysign(1, m * signs[t])


def test_adamw_decay_is_taken_out_and_reported():
    p = weights(3.0, 4.0)
    (row,) = record(torch.optim.AdamW([p], lr=0.1, weight_decay=0.5, eps=0.0), p, [[1.0, 1.0]])
    assert row["gain"] == pytest.approx(0.1)
    assert row["decay"] == pytest.approx(0.05)
    assert row["decay_share"] == pytest.approx(0.25 / (0.25 + 0.1 * math.sqrt(2)))
    assert shares(row) == pytest.approx({"schedule": math.log(0.1)}, abs=1e-6)


def test_adam_decay_through_the_gradient_is_scaled_away():
    p = weights(3.0, 0.0)
    (row,) = record(torch.optim.Adam([p], lr=0.1, weight_decay=1.0, eps=0.0), p, [[1.0, 2.0]])
    assert row["gain"] == pytest.approx(0.1 * math.sqrt(2) / math.sqrt(5))
    assert shares(row) == pytest.approx(
        {
            "schedule": math.log(0.1),
            "decay": math.log(math.sqrt(20) / math.sqrt(5)),
            "second_moment": math.log(math.sqrt(2) / math.sqrt(20)),
        },
        abs=1e-6,
    )
    assert row["decay"] == pytest.approx(0.1 * (3 / 4) / 3)


def test_radam_divides_and_rectifies_from_the_sixth_step():
    p = weights(0.0)
    rows = record(torch.optim.RAdam([p], lr=0.1, eps=0.0), p, [[0.01]] * 8)
    for row in rows[:5]:
        assert shares(row) == pytest.approx({"schedule": math.log(0.1)}, abs=1e-6)
    b2, longest = 0.999, 2 / 0.001 - 1
    for t, row in enumerate(rows[5:], start=6):
        length = longest - 2 * t * b2**t / (1 - b2**t)
        r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        expected = {"schedule": math.log(0.1), "second_moment": math.log(100), "rectification": math.log(r)}
        assert shares(row) == pytest.approx(expected, abs=1e-6)


def test_rmsprop_and_adagrad():
    p = weights(0.0)
    (row,) = record(torch.optim.RMSprop([p], lr=0.1, alpha=0.75, eps=0.0), p, [[4.0]])
    assert shares(row) == pytest.approx({"schedule": math.log(0.1), "second_moment": math.log(0.5)}, abs=1e-6)
    p = weights(0.0)
    rows = record(torch.optim.Adagrad([p], lr=0.1, lr_decay=0.5, eps=0.0), p, [[3.0], [4.0]])
    assert shares(rows[1]) == pytest.approx(
        {"schedule": math.log(0.1 / 1.5), "second_moment": math.log(1 / 5)}, abs=1e-6
    )


class Lamb(torch.optim.Optimizer):
    """Adam's first step times the trust ratio, with decay inside: enough to know every factor."""

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, {"lr": lr, "betas": (0.0, 0.0), "eps": 0.0, "weight_decay": weight_decay})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = {"step": 1, "exp_avg": p.grad.clone(), "exp_avg_sq": p.grad.square()}
                u = p.grad.sign() + group["weight_decay"] * p.detach()
                p.data.sub_(group["lr"] * p.detach().norm() / u.norm() * u)


def test_trust_ratio():
    p = weights(3.0, 4.0)
    (row,) = record(Lamb([p], 0.1, 0.5), p, [[2.0, 2.0]])
    u = math.hypot(2.5, 3.0)
    assert row["trust_ratio"] == pytest.approx(5 / u)
    assert shares(row) == pytest.approx(
        {
            "schedule": math.log(0.1),
            "second_moment": math.log(0.5),
            "decay": math.log(u / math.sqrt(2)),
            "trust_ratio": math.log(5 / u),
        },
        abs=1e-6,
    )


class Clipped(torch.optim.SGD):
    def step(self, closure=None):
        nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1.0, error_if_nonfinite=False)
        return super().step(closure)


def test_clipping_in_place():
    p = weights(0.0, 0.0)
    (row,) = record(Clipped([p], lr=0.5), p, [[6.0, 8.0]])
    assert shares(row) == pytest.approx({"schedule": math.log(0.5), "clipping": math.log(0.1)}, abs=1e-6)


class Unheard(torch.optim.Optimizer):
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.data.sub_(7 * self.param_groups[0]["lr"] * p.grad)


def test_what_is_not_known_is_the_method():
    p = weights(0.0)
    (row,) = record(Unheard([p], {"lr": 0.1}), p, [[2.0]])
    assert shares(row) == pytest.approx({"schedule": math.log(0.1), "method": math.log(7)}, abs=1e-6)


def test_groups_and_the_whole_add_up_over_their_tensors():
    a, b, c = weights(1.0, 2.0), weights(3.0), weights(-1.0, 1.0)
    sgd = torch.optim.SGD([{"params": [a, b]}, {"params": [c], "lr": 0.3}], lr=0.1)
    with Lens(sgd, every=1) as lens:
        for p, g in ((a, [3.0, 0.0]), (b, [4.0]), (c, [0.0, 12.0])):
            p.grad = torch.tensor(g, dtype=torch.float64)
        sgd.step()
    whole, first, second, *tensors = lens.table()
    assert (first["gain"], second["gain"]) == (pytest.approx(0.1), pytest.approx(0.3))
    assert whole["grad_norm"] == pytest.approx(13)
    assert whole["gain"] == pytest.approx(math.hypot(0.5, 3.6) / 13)
    assert whole["effective"] == pytest.approx((0.1 * 25 + 0.3 * 144) / 169)
    assert whole["lr"] == pytest.approx((0.1 * 3 + 0.3 * 2) / 5)
    assert [t["tensor"] for t in tensors] == ["group0[0] 2", "group0[1] 1", "group1[0] 2"]


def test_agreement_is_between_a_step_and_the_next_gradient():
    p = weights(0.0, 0.0)
    rows = record(torch.optim.SGD([p], lr=0.1), p, [[1.0, 1.0], [3.0, -1.0], [0.0, 0.0]])
    assert rows[0]["agreement"] == pytest.approx((3 - 1) / 4)
    assert rows[1]["agreement"] is None


def test_accelerando_moves_at_a_rate_of_its_own():
    p = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64))
    optimizer = accelerando.Accelerando([p], total_steps=40, weight_decay=0.1)
    with Lens(optimizer, every=1) as lens:
        for _ in range(40):
            p.grad = p.detach() - 1
            optimizer.step()
    movements = set()
    for row, turn in zip(lens.table("tensor"), optimizer.trace(), strict=True):
        assert row["step"] == turn.step and row["lr"] == 1e-6
        if not row["gain"]:
            continue
        assert sum(row[f"log_{cause}"] for cause in CAUSES) == pytest.approx(math.log(row["gain"]), abs=1e-9)
        own = {name: row[f"log_{name}"] for name in ("probe", "rise", "settle") if row[f"log_{name}"]}
        assert own == (pytest.approx({turn.movement: math.log(turn.rate / 1e-6)}) if turn.step > 1 else {})
        assert row["log_method"] == pytest.approx(0, abs=1e-5)
        movements.add(turn.movement)
    assert movements == {"probe", "rise", "settle"}

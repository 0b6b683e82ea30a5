"""An optimizer that yields its sums is recorded as one that is measured from outside."""

import pytest
import torch
from torch import nn

from accelerando.lens import Lens


class Table:
    here = True

    def __init__(self):
        self.rows = []

    def table(self):
        return self.rows


class Yielding(torch.optim.AdamW):
    """torch's AdamW that hands out what it has done."""

    asked = 0
    able = True

    def _measure(self, keep):
        self.asked += 1
        self.coming = Table() if self.able else None
        self.keep = keep
        return self.coming

    @torch.no_grad()
    def step(self, closure=None):
        held = [
            (p, p.clone(), k)
            for g, k in zip(self.param_groups, self.kept(), strict=True)
            for p in g["params"]
        ]
        loss = super().step(closure)
        for p, before, keep in held if getattr(self, "coming", None) else ():
            g, d = p.grad.double().flatten(), (p - keep * before).double().flatten()
            s = self.state[p]
            beta1, beta2 = self.param_groups[0]["betas"]
            t = float(s["step"])
            m, v = (s[k].double().flatten() for k in ("exp_avg", "exp_avg_sq"))
            u = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + self.param_groups[0]["eps"])
            w = before.double().flatten()
            sums = {"gg": g @ g, "dd": d @ d, "gd": g @ d, "pp": w @ w, "uu": u @ u, "mm": m @ m}
            self.coming.rows.append((p, {k: float(x) for k, x in sums.items()}))
        self.coming = None
        return loss

    def kept(self):
        return getattr(self, "keep", None) or [1.0] * len(self.param_groups)


def recorded(make, every=2, closure=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    optimizer = make(model.parameters(), lr=1e-2, weight_decay=0.1)
    source = torch.Generator().manual_seed(1)
    with Lens(optimizer, model=model, every=every) as lens:
        for _ in range(9):
            x = torch.randn(16, 4, generator=source).double()

            def loss_of(x=x):
                optimizer.zero_grad()
                with torch.enable_grad():
                    loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
                    loss.backward()
                return loss

            if closure:
                optimizer.step(loss_of)
            else:
                loss_of()
                optimizer.step()
    return optimizer, lens.table()


@pytest.mark.parametrize("closure", [False, True])
def test_the_record_is_the_same(closure):
    optimizer, told = recorded(Yielding, closure=closure)
    _, seen = recorded(torch.optim.AdamW, closure=closure)
    assert optimizer.asked == 5
    assert len(told) == len(seen) == 5 * 6
    for mine, theirs in zip(told, seen, strict=True):
        for field, value in theirs.items():
            wanted = pytest.approx(value, rel=1e-8, abs=1e-9) if isinstance(value, float) else value
            assert mine[field] == wanted, field
    assert all(row["agreement"] is not None for row in told if row["step"] < 9)
    assert all(row["rate_q50"] is not None for row in told if row["scope"] == "tensor")


def test_a_step_that_cannot_yield_is_measured_from_outside():
    class Unable(Yielding):
        able = False

    optimizer, rows = recorded(Unable)
    assert optimizer.asked == 5
    assert any(row["agreement"] is not None for row in rows)


def test_only_sampled_steps_are_asked_for():
    assert recorded(Yielding, every=4)[0].asked == 3

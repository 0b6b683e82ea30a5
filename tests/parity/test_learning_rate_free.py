"""Do we step as prodigyopt, dadaptation and schedulefree do? Step by step; an entry that starts to match fails too."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch

import accelerando

SHAPES = ((8, 6), (40, 40), (10,), (10,), ())
STEPS = 100
SAME = 1e-9

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.peers]


@dataclass(frozen=True)
class Case:
    """One of ours beside theirs; ``why`` is empty where the two are the same method, ``how`` shapes the run."""

    name: str
    theirs: dict[str, Any]
    ours: dict[str, Any] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    bar: float = SAME

    def __str__(self):
        return " ".join([self.name, *(f"{k}={v}" for k, v in (self.theirs | self.how).items())])


PEERS = {
    "Prodigy": ("prodigyopt", "Prodigy"),
    "DAdaptAdam": ("dadaptation", "DAdaptAdam"),
    "ScheduleFreeAdamW": ("schedulefree", "AdamWScheduleFree"),
}
EPS = "ε is multiplied by the d of the next step"
AGE = "one step counter a group"
DROPPED = "a step at rate 0 leaves the moments as they are"
CASES = [
    Case("Prodigy", {"eps": 1e-16}),
    Case("Prodigy", {"use_bias_correction": True, "eps": 1e-16}, {"use_bias_correction": True}),
    Case("Prodigy", {"safeguard_warmup": True, "lr": 0.5, "eps": 1e-16}, {"safeguard_warmup": True}),
    Case("Prodigy", {"weight_decay": 0.1, "eps": 1e-16}),
    Case(
        "Prodigy", {"weight_decay": 0.1, "decouple": False, "eps": 1e-16}, {"decoupled_weight_decay": False}
    ),
    Case("Prodigy", {"growth_rate": 1.1, "d_coef": 2.0, "beta3": 0.9, "eps": 1e-16}),
    Case("Prodigy", {"eps": 1e-16}, how={"late": 30}),
    Case("Prodigy", {"eps": 1e-16}, how={"warm": 20}),
    Case("Prodigy", {"safeguard_warmup": True, "eps": 1e-16}, {"safeguard_warmup": True}, {"warm": 20}),
    Case("Prodigy", {}, bar=1e-3),  # for the place of ε below
    Case("Prodigy", {"eps": 1e-2}, why=EPS),
    Case("Prodigy", {"use_bias_correction": True}, {"use_bias_correction": True}, {"late": 30}, why=AGE),
    Case("Prodigy", {}, how={"pause": 10}, why=DROPPED),
    Case("DAdaptAdam", {}),
    Case("DAdaptAdam", {"use_bias_correction": True}, {"use_bias_correction": True}),
    Case("DAdaptAdam", {"lr": 0.5, "eps": 1e-3}),
    Case("DAdaptAdam", {"weight_decay": 0.1}),
    Case("DAdaptAdam", {"weight_decay": 0.1, "decouple": True}, {"decoupled_weight_decay": True}),
    Case("DAdaptAdam", {"growth_rate": 1.1}),
    Case("DAdaptAdam", {}, how={"late": 30}),
    Case("DAdaptAdam", {}, how={"warm": 20}),
    Case("DAdaptAdam", {"use_bias_correction": True}, {"use_bias_correction": True}, {"late": 30}, why=AGE),
    Case("DAdaptAdam", {}, how={"pause": 10}, why=DROPPED),
    Case("ScheduleFreeAdamW", {"lr": 0.1}),
    Case("ScheduleFreeAdamW", {"lr": 0.1, "foreach": False, "betas": (0.5, 0.9)}),
    Case("ScheduleFreeAdamW", {"lr": 0.1, "warmup_steps": 30, "r": 1.0}),
    Case("ScheduleFreeAdamW", {"lr": 0.1, "weight_lr_power": 0.0, "warmup_steps": 7, "eps": 1e-3}),
    Case("ScheduleFreeAdamW", {"lr": 0.1, "weight_decay": 0.1}),
    Case("ScheduleFreeAdamW", {"lr": 0.1}, how={"warm": 20}),
    Case("ScheduleFreeAdamW", {"lr": 0.1}, how={"pause": 10}),
    Case("ScheduleFreeAdamW", {"lr": 0.1}, how={"turns": 9}),
    Case("ScheduleFreeAdamW", {"lr": 0.1}, how={"late": 30}, why=AGE),
    Case(
        "ScheduleFreeAdamW", {"lr": 0.1}, how={"momentum": 0.5}, why="x is worked out from y with today's β1"
    ),
]


def start():
    source = torch.Generator().manual_seed(7)
    starts = [torch.randn(shape, generator=source, dtype=torch.float64) for shape in SHAPES]
    starts[2].zero_()
    goals = [s + torch.randn(s.shape, generator=source, dtype=torch.float64) for s in starts]
    return starts, goals, source


def walk(make, *, late=0, warm=0, pause=0, turns=0, momentum=0.0):
    """Down a noisy bowl: positions and estimates, step by step."""
    starts, goals, source = start()
    params = [torch.nn.Parameter(s.clone()) for s in starts]
    optimizer = make(params)
    full = optimizer.param_groups[0]["lr"]
    if hasattr(optimizer, "train"):
        optimizer.train()
    for t in range(STEPS):
        for i, (p, goal) in enumerate(zip(params, goals, strict=True)):
            noise = 0.1 * torch.randn(p.shape, generator=source, dtype=torch.float64)
            p.grad = None if i == 0 and t < late else 2 * (p.detach() - goal) + noise
        if warm:
            optimizer.param_groups[0]["lr"] = full * min(1.0, (t + 1) / warm)
        if pause:
            optimizer.param_groups[0]["lr"] = 0.0 if pause <= t < pause + 5 else full
        if momentum and t == STEPS // 2:
            optimizer.param_groups[0]["betas"] = (momentum, optimizer.param_groups[0]["betas"][1])
        optimizer.step()
        if turns and t % turns == 0:  # the average is looked at, and training goes on
            optimizer.eval()
            yield [p.detach().clone() for p in params], 1.0
            optimizer.train()
        yield [p.detach().clone() for p in params], optimizer.param_groups[0].get("d", 1.0)


def gap(case):
    """The largest distance at any step, in units of the way come so far, and of d in units of d."""
    module, cls = PEERS[case.name]
    theirs = pytest.importorskip(module)
    options = {k: v for k, v in case.theirs.items() if k != "decouple"}
    if case.ours.get("use_bias_correction"):
        options.pop("use_bias_correction")
    left = walk(partial(getattr(accelerando, case.name), **(options | case.ours)), **case.how)
    right = walk(partial(getattr(theirs, cls), **case.theirs), **case.how)
    origin, _, _ = start()
    worst = 0.0
    for (ours, d), (others, known) in zip(left, right, strict=True):
        way = [float((b - o).norm()) for b, o in zip(others, origin, strict=True)]
        apart = [float((a - b).norm()) for a, b in zip(ours, others, strict=True)]
        worst = max([worst, abs(d - known) / known, *(x / y for x, y in zip(apart, way, strict=True) if y)])
    return worst


@pytest.mark.parametrize("case", CASES, ids=str)
def test_step_by_step(case):
    if case.why:
        assert gap(case) > 1e-4, (
            f"no longer differs ({case.why}): take the entry out of the known differences"
        )
    else:
        assert gap(case) <= case.bar

"""Other libraries' optimizers under the lens, as they come."""

import math
import warnings

import pytest
import torch
from torch import nn

from accelerando.lens import Lens
from accelerando.lens.rows import CAUSE_FIELDS

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("torchvision_loads")]

PYTORCH_OPTIMIZER = """
    A2Grad ADOPT AdaBelief AdaBound AdaFactor AdaHessian AdamP AdEMAMix Adan CAME DAdaptAdam DAdaptSGD
    DiffGrad FAdam Fromage GrokFastAdamW Lamb LARS Lion MADGRAD Nero NovoGrad PAdam Prodigy QHAdam RAdam
    Ranger Ranger21 ScheduleFreeAdamW SM3 SOAP StableAdamW Tiger Yogi
""".split()
TIMM = "Lamb AdaBelief NAdamW Lion Adopt LaProp Lars".split()

PEERS = [
    *(
        ("torch.optim", name, options)
        for name, options in [
            ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
            ("Adam", {"amsgrad": True}),
            ("AdamW", {}),
            ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
            ("RAdam", {}),
            ("Adamax", {}),
            ("Adagrad", {}),
            ("Adadelta", {}),
            ("RMSprop", {"momentum": 0.9}),
            ("Rprop", {}),
            ("ASGD", {}),
            ("Adafactor", {}),
        ]
    ),
    *(("pytorch_optimizer", name, {}) for name in PYTORCH_OPTIMIZER),
    ("prodigyopt", "Prodigy", {"lr": 1.0}),
    ("prodigyopt", "Prodigy", {"lr": 1.0, "use_bias_correction": True, "weight_decay": 0.01}),
    ("dadaptation", "DAdaptAdam", {"lr": 1.0}),
    ("dadaptation", "DAdaptSGD", {"lr": 1.0}),
    ("schedulefree", "AdamWScheduleFree", {"warmup_steps": 5}),
    ("schedulefree", "SGDScheduleFree", {"lr": 0.1}),
    *(("timm.optim", name, {"lr": 1e-3}) for name in TIMM),
    ("accelerando", "Prodigy", {"weight_decay": 0.01}),
    ("accelerando", "DAdaptAdam", {}),
    ("accelerando", "ScheduleFreeAdamW", {"warmup_steps": 5}),
]  # fmt: skip


def made(module, name, options, model):
    library = pytest.importorskip(module)
    cls = getattr(library, name)
    extra = {"num_iterations": 20} if name == "Ranger21" else {}
    return cls(model.parameters(), **options, **extra)


@pytest.mark.parametrize(
    ("module", "name", "options"), PEERS, ids=[f"{i}-{m}.{n}" for i, (m, n, _) in enumerate(PEERS)]
)
def test_a_peer_is_observed_without_a_failure(module, name, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's own warnings are not what is tested
        optimizer = made(module, name, options, model)
        if hasattr(optimizer, "train"):
            optimizer.train()
        with Lens(optimizer, model=model, every=2) as lens:
            for _ in range(14):
                x = torch.randn(32, 6)
                optimizer.zero_grad()
                (model(x) - x.prod(1, keepdim=True)).square().mean().backward(
                    create_graph=name == "AdaHessian"
                )
                optimizer.step()
    rows = lens.table()
    assert [r["step"] for r in lens.table("optimizer")] == [1, 3, 5, 7, 9, 11, 13]
    assert len(lens.table("tensor")) == 7 * 6
    moved = [r for r in rows if r["gain"]]
    assert len(moved) > len(rows) / 2
    for row in moved:
        assert math.isfinite(row["gain"]) and -1 <= row["alignment"] <= 1
        assert sum(row[f] for f in CAUSE_FIELDS) == pytest.approx(math.log(row["gain"]), abs=1e-6)


def shares(module, name, options, steps=40):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    optimizer = made(module, name, options, model)
    if hasattr(optimizer, "train"):
        optimizer.train()
    with Lens(optimizer, model=model, every=1) as lens:
        for _ in range(steps):
            x = torch.randn(64, 6).double()
            optimizer.zero_grad()
            (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
            optimizer.step()
    return lens.table("group")


@pytest.mark.parametrize(
    ("module", "name", "options"),
    [
        ("torch.optim", "Adam", {"lr": 1e-3}),
        ("torch.optim", "Adam", {"lr": 1e-3, "amsgrad": True}),
        ("torch.optim", "AdamW", {"lr": 1e-3, "weight_decay": 0.1}),
        ("torch.optim", "RAdam", {"lr": 1e-3}),
        ("torch.optim", "Adamax", {"lr": 1e-3}),
        ("torch.optim", "RMSprop", {"lr": 1e-3, "centered": True}),
        ("torch.optim", "SGD", {"lr": 1e-2, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        ("torch.optim", "Adagrad", {"lr": 1e-2, "lr_decay": 0.1}),
        ("prodigyopt", "Prodigy", {"lr": 1.0}),
        ("prodigyopt", "Prodigy", {"lr": 1.0, "use_bias_correction": True}),
        ("prodigyopt", "Prodigy", {"lr": 1.0, "use_bias_correction": True, "weight_decay": 0.01}),
        ("dadaptation", "DAdaptAdam", {"lr": 1.0, "use_bias_correction": True}),
        ("accelerando", "Prodigy", {}),
        ("accelerando", "Prodigy", {"use_bias_correction": True, "weight_decay": 0.01}),
        ("accelerando", "DAdaptAdam", {}),
        ("pytorch_optimizer", "AdaBelief", {"lr": 1e-3}),
        ("pytorch_optimizer", "RAdam", {"lr": 1e-3}),
        ("timm.optim", "Lamb", {"lr": 1e-3}),
        ("timm.optim", "AdaBelief", {"lr": 1e-3, "rectify": False}),
        ("timm.optim", "RAdamLegacy", {"lr": 1e-3}),
        ("accelerando", "Adam", {"lr": 1e-3, "weight_decay": 0.1}),
        ("accelerando", "AdamW", {"lr": 1e-3, "weight_decay": 0.1}),
        ("accelerando", "RAdam", {"lr": 1e-3, "weight_decay": 0.1}),
        ("accelerando", "RAdam", {"lr": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}),
        ("accelerando", "AdaBelief", {"lr": 1e-3, "weight_decay": 0.1}),
        ("accelerando", "AdaBelief", {"lr": 1e-3, "amsgrad": True}),
        ("accelerando", "LAMB", {"lr": 1e-3, "weight_decay": 0.1}),
    ],
)
def test_nothing_is_left_to_the_method_where_the_recipe_is_known(module, name, options):
    rows = [r for r in shares(module, name, options) if r["gain"]]
    assert len(rows) > 30
    assert max(abs(r["log_method"]) for r in rows) < 1e-4


@pytest.mark.parametrize(
    ("module", "name"),
    [("prodigyopt", "Prodigy"), ("accelerando", "Prodigy"), ("accelerando", "DAdaptAdam")],
)
def test_the_distance_estimate_is_seen_to_rise(module, name):
    rows = shares(module, name, {"lr": 1.0})
    assert rows[-1]["log_distance"] > rows[0]["log_distance"] + math.log(10)
    assert {r["lr"] for r in rows} == {1.0}


def test_the_trust_ratio_is_read():
    rows = shares("timm.optim", "Lamb", {"lr": 1e-2})
    assert all(r["trust_ratio"] > 0 and abs(r["log_trust_ratio"]) > 0 for r in rows if r["gain"])


@pytest.mark.parametrize(
    ("module", "name"), [("schedulefree", "AdamWScheduleFree"), ("accelerando", "ScheduleFreeAdamW")]
)
def test_schedule_free_warm_up_is_schedule(module, name):
    rows = shares(module, name, {"lr": 1e-3, "warmup_steps": 10})
    assert rows[0]["log_schedule"] == pytest.approx(math.log(1e-4))
    assert rows[20]["log_schedule"] == pytest.approx(math.log(1e-3))


def test_there_are_thirty_third_party_peers_from_five_libraries():
    third = [(m, n) for m, n, _ in PEERS if m not in ("torch.optim", "accelerando")]
    assert len(set(third)) >= 30
    assert len({m for m, _ in third}) >= 5

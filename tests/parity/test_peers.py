"""Whom else do we match, and where do we knowingly not? An entry that starts to match fails too."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import accelerando

from .series import distance

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "peers"))
from subjects import PEERS

sys.path.pop(0)

SAME = 1e-6  # the place of eps makes up to 1e-7
BETAS = {"betas": (0.9, 0.999)}


@dataclass(frozen=True)
class Pair:
    """One of ours against one of theirs; ``why`` is empty where the two are the same method."""

    label: str
    name: str
    ours: dict[str, Any]
    both: dict[str, Any]
    why: str = ""
    late: str = ""
    bar: float = SAME


LAMB = {**BETAS, "eps": 1e-6, "weight_decay": 0.01}
BELIEF = {**BETAS, "eps": 1e-16, "weight_decay": 0.0}
ADAM = {**BETAS, "eps": 1e-8, "weight_decay": 0.0}
COUNTER = "one step counter a group"
AT5 = {"rectify_threshold": 5}

PAIRS = [
    Pair("timm: Lamb(max_grad_norm=None, always_adapt=True)", "LAMB", {}, LAMB, late=COUNTER),
    Pair("timm: Lamb(max_grad_norm=None)", "LAMB", {}, LAMB, late=COUNTER),
    Pair(
        "timm: Lamb(max_grad_norm=None, weight_decay=0.0)",
        "LAMB",
        {"adapt": False, "weight_decay": 0.0},
        {**BETAS, "eps": 1e-6},
        late=COUNTER,
    ),
    Pair("timm: Lamb()", "LAMB", {}, LAMB, why="the global norm is clipped by default"),
    Pair("pytorch_optimizer: Lamb()", "LAMB", {}, LAMB, why="bias correction after the ratio"),
    Pair("pytorch_optimizer: Lamb(adam_debias=True)", "LAMB", {}, LAMB, why="no bias correction"),
    Pair("torch_optimizer: Lamb()", "LAMB", {}, LAMB, why="no bias correction"),
    Pair("torch_optimizer: Lamb(debias=True)", "LAMB", {}, LAMB, why="bias correction after the ratio"),
    Pair("timm: AdaBelief(rectify=False)", "AdaBelief", {}, BELIEF),
    Pair("adabelief-pytorch: AdaBelief(rectify=False)", "AdaBelief", {}, BELIEF),
    Pair("pytorch_optimizer: AdaBelief()", "AdaBelief", {}, BELIEF, late=COUNTER),
    Pair("torch_optimizer: AdaBelief()", "AdaBelief", {}, BELIEF),
    Pair("timm: AdaBelief()", "AdaBelief", {}, BELIEF, why="rectified"),
    Pair("adabelief-pytorch: AdaBelief()", "AdaBelief", {}, BELIEF, why="rectified"),
    Pair("torch_optimizer: AdaBelief(rectify=True)", "AdaBelief", {}, BELIEF, why="rectified"),
    Pair("timm: RAdamLegacy()", "RAdam", AT5, ADAM, bar=1e-4),
    Pair("torch_optimizer: RAdam()", "RAdam", AT5, ADAM, bar=1e-4),
    Pair("torch-optimi: RAdam()", "RAdam", AT5, ADAM, late=COUNTER),
    Pair("pytorch_optimizer: RAdam(degenerated_to_sgd=True)", "RAdam", AT5, ADAM, late=COUNTER),
    Pair("pytorch_optimizer: RAdam()", "RAdam", AT5, ADAM, why="no motion before rectification"),
    Pair("torch: RAdam()", "RAdam", {}, ADAM, why="rectified from ρ > 5, the paper's 4 is our default"),
    Pair("torch-optimi: Adam()", "Adam", {}, ADAM, late=COUNTER),
    Pair("torch-optimi: AdamW()", "AdamW", {}, {**ADAM, "weight_decay": 0.1}, late=COUNTER),
    Pair("bitsandbytes: AdamW()", "AdamW", {}, {**ADAM, "weight_decay": 0.1}, bar=1e-4),
    Pair("bitsandbytes: LAMB()", "LAMB", {}, {**BETAS, "weight_decay": 0.01}, why="frozen zeros"),
]
BY_LABEL = {peer.label: peer for peer in PEERS}
HERE = [pair for pair in PAIRS if BY_LABEL[pair.label].version() is not None]


def gap_of(pair, **how):
    peer = BY_LABEL[pair.label]
    theirs = partial(peer.load(), **{"lr": 1e-2, **pair.both, **peer.options})
    ours = partial(getattr(accelerando, pair.name), **{"lr": 1e-2, **pair.both, **pair.ours})
    return distance(ours, theirs, dtype=torch.float64, **how)


pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.peers]


@pytest.mark.parametrize("pair", HERE, ids=lambda pair: f"{pair.name} and {pair.label}")
def test_on_time(pair):
    gap = gap_of(pair)
    if pair.why:
        assert gap > 1e-4, f"no longer differs ({pair.why}): take the entry out of the known differences"
    else:
        assert gap <= pair.bar


@pytest.mark.parametrize(
    "pair", [pair for pair in HERE if not pair.why], ids=lambda pair: f"{pair.name} and {pair.label}"
)
def test_where_a_gradient_comes_late(pair):
    gap = gap_of(pair, late=11)
    if pair.late:
        assert gap > 1e-4, f"no longer differs ({pair.late}): take the entry out of the known differences"
    else:
        assert gap <= pair.bar

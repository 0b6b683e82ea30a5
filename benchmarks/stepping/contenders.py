"""Who is timed, by method; and whether it does what the method's paper says, which is found out first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from benchmarks.peers.subjects import Peer

import accelerando
from accelerando.testing.papers import PAPERS

BAR = 1e-4
"""How far an end may be from the paper's, relative to the way made, for float32 parameters after nine steps."""


@dataclass(frozen=True)
class Contender:
    """An optimizer to be timed.

    Attributes:
        label: as the table writes it.
        make: parameters → the optimizer.
        ours: whether it is this library's.
        paper: how the paper is asked for the same thing, where the method leaves something open.
    """

    label: str
    make: Callable[[Sequence[torch.Tensor]], torch.optim.Optimizer]
    ours: bool = False
    paper: Mapping[str, Any] = field(default_factory=dict)


COMMON = {
    "AdamW": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
    "Adam": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    "RAdam": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    "LAMB": {"betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01},
    "AdaBelief": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
}
"""What every contender of a method is told, so that all do the same."""

_torch = {"single": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
_PEERS: dict[str, list[tuple[str, Peer]]] = {
    "AdamW": [*((f"torch {k}", Peer("torch", "torch.optim", "AdamW", v)) for k, v in _torch.items())],
    "Adam": [*((f"torch {k}", Peer("torch", "torch.optim", "Adam", v)) for k, v in _torch.items())],
    "RAdam": [
        ("torch single", Peer("torch", "torch.optim", "RAdam", {"foreach": False})),
        ("torch foreach", Peer("torch", "torch.optim", "RAdam", {"foreach": True})),
        ("timm", Peer("timm", "timm.optim.radam", "RAdamLegacy")),
        ("pytorch_optimizer", Peer("pytorch_optimizer", "pytorch_optimizer", "RAdam")),
        ("torch_optimizer", Peer("torch_optimizer", "torch_optimizer", "RAdam")),
    ],
    "LAMB": [
        ("timm", Peer("timm", "timm.optim.lamb", "Lamb", {"max_grad_norm": None})),
        ("pytorch_optimizer", Peer("pytorch_optimizer", "pytorch_optimizer", "Lamb")),
        ("torch_optimizer", Peer("torch_optimizer", "torch_optimizer", "Lamb", {"debias": True})),
    ],
    "AdaBelief": [
        ("timm", Peer("timm", "timm.optim.adabelief", "AdaBelief", {"rectify": False})),
        ("pytorch_optimizer", Peer("pytorch_optimizer", "pytorch_optimizer", "AdaBelief")),
        ("adabelief-pytorch", Peer(
            "adabelief-pytorch", "adabelief_pytorch", "AdaBelief",
            {"rectify": False, "print_change_log": False, "weight_decouple": True},
        )),
    ],
}  # fmt: skip


def contenders(method: str, device: str) -> list[Contender]:
    """Ours first, then every peer that can be loaded."""
    cls, common = getattr(accelerando, method), COMMON[method]
    found = [Contender("accelerando", lambda ps: cls(ps, lr=1e-3, **common), ours=True)]
    for label, peer in _PEERS[method]:
        try:
            theirs = peer.load()
        except ImportError as error:
            print(f"  {label}: not here ({error})")
            continue
        options = dict(peer.options)
        paper = {"rectify_threshold": 5.0} if method == "RAdam" else {}
        found.append(
            Contender(
                f"{label} {peer.version()}",
                lambda ps, theirs=theirs, options=options: theirs(list(ps), lr=1e-3, **common, **options),
                paper=paper,
            )
        )
    return found


def distance_from_paper(contender: Contender, method: str, device: str) -> float:
    """How far ten small tensors end from the paper's after nine steps, relative to the way they made."""
    rng, worst = np.random.default_rng(0), 0.0
    starts = [0.05 * rng.normal(size=s) for s in ((7, 5), (33,), (4, 3, 2))]
    series = [[rng.normal(size=s.shape) for s in starts] for _ in range(9)]
    params = [torch.nn.Parameter(torch.tensor(s, dtype=torch.float32, device=device)) for s in starts]
    rounded = [[g.astype(np.float32) for g in step] for step in series]
    optimizer = contender.make(params)
    for step in rounded:
        for p, g in zip(params, step, strict=True):
            p.grad = torch.tensor(g, device=device)
        optimizer.step()
    options = COMMON[method] | dict(contender.paper)
    for k, (p, start) in enumerate(zip(params, starts, strict=True)):
        begin = start.astype(np.float32).astype(np.float64)
        path = PAPERS[method.lower()].trajectory(
            begin, [step[k].astype(np.float64) for step in rounded], lr=1e-3, **options
        )
        end = p.detach().cpu().double().numpy()
        worst = max(worst, float(np.linalg.norm(end - path[-1]) / np.linalg.norm(path[-1] - begin)))
    return worst

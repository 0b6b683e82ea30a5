"""Rules, ways to share tensors out, and steps over them: what every world size does alike."""

import sys
from functools import partial
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn import Parameter

from accelerando.optim import (
    LAMB,
    Accelerando,
    AdaBelief,
    Adam,
    AdamW,
    DAdaptAdam,
    Prodigy,
    RAdam,
    ScheduleFreeAdamW,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))
from rules import ELEMENTWISE, WITH_SUMS, Everything, Later, Layerwise  # type: ignore[import-not-found]

PLAIN = {cls.__name__: cls for cls in (Adam, AdamW, RAdam, AdaBelief, *ELEMENTWISE)}
SUMMED = {
    cls.__name__: cls for cls in (LAMB, Prodigy, DAdaptAdam, ScheduleFreeAdamW, Accelerando, *WITH_SUMS)
} | {"Accelerando to an end": partial(Accelerando, total_steps=20)}
RULES = PLAIN | SUMMED
COMPILED = (AdamW, LAMB, Later)
"""Stepped by kernels in the tests, where making kernels for all would take its time."""
SHAPES = {
    "even": [(8, 3), (4,), (12, 2, 2)],
    "uneven": [(5, 3), (7,), (9, 2)],
    "empty": [(1,), (2, 3), (3, 1)],
    "large": [(40001,), (101, 31), (1,)],
    "missing": [(5, 3), (6,), (3, 2)],
}
STEPS = 6


def numbers(shapes, dtype=torch.float32):
    """A start for each shape, and gradients for each step."""
    source = torch.Generator().manual_seed(0)
    make = lambda: [torch.randn(s, generator=source, dtype=torch.float64).to(dtype) for s in shapes]  # noqa: E731
    return make(), [make() for _ in range(STEPS)]


def is_missing(layout, world, rank, step, k):
    """Whether a rank has no gradient: on the last rank of several, and at another step on no rank."""
    if layout != "missing":
        return False
    return (k == 1 and rank == world - 1 > 0 and step in (0, 3)) or (k == 2 and step in (1, 4))


def groups(cls, params, **options):
    """An optimizer of two groups."""
    rest = [{"params": params[1:], "lr": 0.02}] if len(params) > 1 else []
    return cls([{"params": params[:1], **options}, *({**group, **options} for group in rest)], lr=0.01)


def shard(x, mesh, places=None):
    """A share of ``x``, which every rank has whole: nothing is sent."""
    return distribute_tensor(x.clone(), mesh, places or [Shard(0)], src_data_rank=None)


def whole(x):
    return x.detach().full_tensor() if isinstance(x, DTensor) else x.detach().clone()


def told(optimizer, params):
    """Everything that must be the same on every rank."""
    rule = [optimizer.rule_of(g) for g in optimizer.param_groups]
    buffers, kept, steps = [], [], []
    for p in params:
        state = optimizer.state.get(p, {})
        steps.append(float(state["step"]) if "step" in state else None)
        buffers.append({n: whole(v) for n, v in state.items() if n in rule[0].buffers})
        kept.append({n: float(v) for n, v in state.items() if n in rule[0].memory})
    memory = [{n: float(g[n]) for n in rule[0].memory if n in g} for g in optimizer.param_groups]
    return {
        "params": [whole(p) for p in params],
        "buffers": buffers,
        "steps": steps,
        "kept": kept,
        "memory": memory,
    }


def counted(step):
    """How many collectives a step makes, of whatever kind."""
    with CommDebugMode() as seen:
        step()
    return seen.get_total_counts()


def walk(cls, layout, mesh, rank, world, **options):
    """Step a rule over a layout; the outcome, and the collectives of each step."""
    starts, series = numbers(SHAPES[layout])
    params = [Parameter(shard(s, mesh)) for s in starts]
    optimizer = groups(cls, params, **options)
    calls = []
    for step, grads in enumerate(series):
        for k, (p, g) in enumerate(zip(params, grads, strict=True)):
            p.grad = None if is_missing(layout, world, rank, step, k) else shard(g, mesh)
        calls.append(counted(optimizer.step))
    return told(optimizer, params) | {"calls": calls}


__all__ = ["COMPILED", "Everything", "Later", "Layerwise"]

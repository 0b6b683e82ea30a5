"""What the matrix does not have: meshes of two dimensions, mixed tensors, clipping, gradients that nobody has."""

import math

import torch
from matrix import (  # type: ignore[import-not-found]
    SHAPES,
    Everything,
    Later,
    Layerwise,
    counted,
    groups,
    numbers,
    shard,
    told,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.nn import Parameter
from wrapped import WRAPPED  # type: ignore[import-not-found]

from accelerando.optim import LAMB, Adam, AdamW


def advance(optimizer, params, series, share):
    """Step over whole gradients, shared out by ``share(k, g)``, which may give None; collectives by step."""
    calls = []
    for step, grads in enumerate(series):
        for k, (p, g) in enumerate(zip(params, grads, strict=True)):
            p.grad = share(step, k, g)
        calls.append(counted(optimizer.step))
    return calls


def mixed(mesh, rank, world, folder):
    """A whole parameter, a sharded and a replicated one in one group."""
    starts, series = numbers(SHAPES["uneven"])
    ways = [lambda x: x.clone(), lambda x: shard(x, mesh), lambda x: shard(x, mesh, [Replicate()])]
    out = {}
    for cls in (AdamW, LAMB, Everything, Later, Layerwise):
        params = [Parameter(way(s)) for way, s in zip(ways, starts, strict=True)]
        optimizer = groups(cls, params, backend="eager" if cls in (Everything, Layerwise) else "cpu")
        calls = advance(optimizer, params, series, lambda _, k, g: ways[k](g))
        out[cls.__name__] = told(optimizer, params) | {"calls": calls}
    return out


def grid(mesh, rank, world, folder):
    """Meshes of two dimensions: hybrid, both sharded, and several sets of dimensions in one optimizer."""
    plane = init_device_mesh("cpu", (2, 2) if world == 4 else (1, world), mesh_dim_names=("a", "b"))
    layouts = {
        "hybrid": [[Replicate(), Shard(0)]] * 3,
        "both": [[Shard(0), Shard(1)], [Shard(0), Shard(0)], [Shard(1), Shard(0)]],
        "sets": [[Shard(0), Shard(1)], [Shard(0), Replicate()], [Replicate(), Shard(1)]],
    }
    starts, series = numbers(SHAPES["uneven"])
    out = {}
    for name, places in layouts.items():
        for cls in (Adam, LAMB, Everything):
            params = [Parameter(shard(s, plane, at)) for s, at in zip(starts, places, strict=True)]
            optimizer = groups(cls, params, backend="eager")
            calls = advance(optimizer, params, series, lambda _, k, g, at=places: shard(g, plane, at[k]))
            out[name, cls.__name__] = told(optimizer, params) | {"calls": calls}
    return out


def dtypes(mesh, rank, world, folder):
    """Storage in 16 and 64 bits, and complex numbers."""
    out = {}
    for dtype in (torch.bfloat16, torch.float64, torch.complex64):
        starts, series = numbers(SHAPES["uneven"], dtype)
        params = [Parameter(shard(s, mesh)) for s in starts]
        optimizer = groups(AdamW, params, backend="eager")
        advance(optimizer, params, series, lambda _, k, g: shard(g, mesh))
        out[dtype] = told(optimizer, params)
    return out


def clipped(mesh, rank, world, folder):
    """One norm over every share; one all-reduce more."""
    starts, series = numbers(SHAPES["empty"])
    out = {}
    for cls in (AdamW, LAMB):
        params = [Parameter(shard(s, mesh)) for s in starts]
        optimizer = groups(cls, params, max_grad_norm=0.25)
        calls = advance(optimizer, params, series, lambda _, k, g: shard(g, mesh))
        out[cls.__name__] = told(optimizer, params) | {"calls": calls}
    return out


def nonfinite(mesh, rank, world, folder):
    """One element that is not finite, on the rank with the last share; every rank skips or raises."""
    starts, series = numbers(SHAPES["uneven"])
    series[2][1][-1] = math.nan
    out = {}
    for cls in (AdamW, LAMB):
        params = [Parameter(shard(s, mesh)) for s in starts]
        optimizer = groups(cls, params, on_nonfinite="skip")
        calls = advance(optimizer, params, series, lambda _, k, g: shard(g, mesh))
        out["skip", cls.__name__] = told(optimizer, params) | {"calls": calls}
    params = [Parameter(shard(s, mesh)) for s in starts]
    optimizer = groups(AdamW, params, on_nonfinite="raise")
    try:
        advance(optimizer, params, series, lambda _, k, g: shard(g, mesh))
    except FloatingPointError as error:
        out["raise"] = str(error)
    out["raised"] = told(optimizer, params)
    return out


def deserted(mesh, rank, world, folder):
    """A rank without any gradient, at the first step and later, with every option that makes ranks talk."""
    starts, series = numbers(SHAPES["uneven"])
    out = {}
    for cls in (LAMB, Everything, Later, Layerwise):
        params = [Parameter(shard(s, mesh)) for s in starts]
        optimizer = groups(cls, params, max_grad_norm=1.0, on_nonfinite="skip", backend="eager")
        gone = {0: world - 1, 3: 0} if world > 1 else {}
        calls = advance(
            optimizer,
            params,
            series,
            lambda step, k, g, gone=gone: None if gone.get(step) == rank else shard(g, mesh),
        )
        out[cls.__name__] = told(optimizer, params) | {"calls": calls}
    return out


def absent_is_zero(mesh, rank, world, folder):
    """A rule to which a zero gradient and none are the same shows what a missing share adds: nothing."""
    starts, series = numbers(SHAPES["uneven"])
    out = {}
    for kind in ("none", "zero"):
        params = [Parameter(shard(s, mesh)) for s in starts]
        optimizer = Layerwise(params, backend="eager")

        def share(step, k, g, kind=kind):
            mine = shard(g, mesh)
            if k == 1 and step in (0, 2) and rank == world - 1 > 0:
                return None if kind == "none" else torch.zeros_like(mine)
            return mine

        advance(optimizer, params, series, share)
        out[kind] = told(optimizer, params)
    return out


def rate_zero(mesh, rank, world, folder):
    """A first step with rate 0 where some ranks have zeros alone: a step like any other, not a rehearsal."""
    starts = [torch.arange(4.0), torch.ones(1)]
    params = [Parameter(shard(s, mesh)) for s in starts]
    optimizer = LAMB(params, lr=0.0)
    grads = [torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.zeros(1)]
    calls = advance(optimizer, params, [grads, grads], lambda _, k, g: shard(g, mesh))
    return told(optimizer, params) | {"calls": calls}


def moved(mesh, rank, world, folder):
    """A share that is put elsewhere between two steps is stepped where it is."""
    starts, series = numbers(SHAPES["uneven"])
    out = {}
    for kind in ("left", "moved"):
        params = [Parameter(shard(s, mesh)) for s in starts]
        optimizer = groups(LAMB, params)
        advance(optimizer, params, series[:2], lambda _, k, g: shard(g, mesh))
        if kind == "moved":
            params[1]._local_tensor = params[1]._local_tensor.clone()
        advance(optimizer, params, series[2:], lambda _, k, g: shard(g, mesh))
        out[kind] = told(optimizer, params)
    return out


def refusals(mesh, rank, world, folder):
    """What cannot be stepped, and what it says."""
    out = {}

    def refused(name, act):
        try:
            act()
        except Exception as error:
            out[name] = f"{type(error).__name__}: {error}"

    p = Parameter(shard(torch.ones(4), mesh))
    partial = Parameter(DTensor.from_local(torch.ones(4), mesh, [Partial()], run_check=False))
    refused("partial", lambda: Adam([partial]))
    optimizer = Adam([p])
    p.grad = shard(torch.ones(4), mesh, [Replicate()])
    refused("placement", optimizer.step)
    p = Parameter(shard(torch.ones(4), mesh))
    state = Adam([Parameter(torch.ones(4))]).state_dict()
    whole = torch.arange(4.0)
    state["state"][0] = {"step": torch.tensor(3.0), "exp_avg": whole, "exp_avg_sq": whole}
    optimizer = Adam([p])
    optimizer.load_state_dict(state)
    out["cut"] = told(optimizer, [p])
    state["state"][0]["exp_avg"] = shard(whole, mesh, [Replicate()])
    refused("loaded", lambda: Adam([p]).load_state_dict(state))
    return out


CASES = (
    mixed,
    grid,
    dtypes,
    clipped,
    nonfinite,
    deserted,
    absent_is_zero,
    rate_zero,
    moved,
    refusals,
    *WRAPPED,
)

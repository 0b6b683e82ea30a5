"""Under torch's own wrappers: fully_shard, tensor parallelism, DDP, ZeRO, and the checkpoint library."""

import torch
import torch.distributed.checkpoint as dcp
from matrix import Later, Layerwise, counted, numbers, shard, told  # type: ignore[import-not-found]
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from accelerando.optim import LAMB, Adam, AdamW


def network():
    """Odd widths, so that shares are uneven, and a bias of one, so that they are empty."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 1))


def batches():
    source = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=source), torch.randn(8, 1, generator=source)) for _ in range(5)]


def train(model, optimizer):
    calls = []
    for x, y in batches():
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        calls.append(counted(optimizer.step))
    return calls


def sharded_models(mesh, rank, world, folder):
    """FSDP2, hybrid FSDP2, and FSDP2 over tensor parallelism; every rank sees every batch."""
    plane = init_device_mesh("cpu", (2, 2) if world == 4 else (1, world), mesh_dim_names=("a", "b"))
    out = {}
    for name in ("fsdp", "hybrid", "with tensor parallelism"):
        for cls in (AdamW, LAMB):
            model = network()
            if name == "with tensor parallelism":
                parallelize_module(model, plane["b"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
            wraps = {"fsdp": mesh, "hybrid": plane, "with tensor parallelism": plane["a"]}
            fully_shard(model, mesh=wraps[name])
            optimizer = cls(model.parameters(), lr=0.01, weight_decay=0.1, backend="cpu")
            calls = train(model, optimizer)
            out[name, cls.__name__] = told(optimizer, list(model.parameters())) | {"calls": calls}
    return out


def replicated_models(mesh, rank, world, folder):
    """DDP; ZeRO, which gives every rank some of the tensors; FSDP1, which cuts tensors laid end to end."""
    out = {}
    for cls in (Adam, AdamW, LAMB):
        model = DistributedDataParallel(network())
        optimizer = cls(model.parameters(), lr=0.01)
        calls = train(model, optimizer)
        out["ddp", cls.__name__] = told(optimizer, list(model.parameters())) | {"calls": calls}
        model = DistributedDataParallel(network())
        optimizer = ZeroRedundancyOptimizer(model.parameters(), cls, lr=0.01)
        train(model, optimizer)
        out["zero", cls.__name__] = {"params": [p.detach().clone() for p in model.parameters()]}
    for cls in (Adam, LAMB):
        model = FullyShardedDataParallel(network(), use_orig_params=True, device_id=torch.device("cpu"))
        try:
            optimizer = cls(model.parameters(), lr=0.01)
            train(model, optimizer)
            with FullyShardedDataParallel.summon_full_params(model):
                out["flat", cls.__name__] = {"params": [p.detach().clone() for p in model.parameters()]}
        except Exception as error:
            out["flat", cls.__name__] = f"{type(error).__name__}: {error}"
    for name, options in {"sums": {}, "clip": {"max_grad_norm": 1.0}}.items():
        try:
            ZeroRedundancyOptimizer(
                network().parameters(), Later if name == "sums" else Adam, lr=0.01, **options
            )
        except Exception as error:
            out[name] = f"{type(error).__name__}: {error}"
    return out


class Model(nn.Module):
    """Parameters alone, sharded over a mesh."""

    def __init__(self, mesh):
        super().__init__()
        self.mesh = mesh
        starts, self.series = numbers([(5, 3), (7,), (1,)])
        self.params = nn.ParameterList([nn.Parameter(shard(s, mesh)) for s in starts])

    def steps(self, optimizer, which):
        for step in which:
            for p, g in zip(self.params, self.series[step], strict=True):
                p.grad = shard(g, self.mesh)
            optimizer.step()
        optimizer.zero_grad()


def checkpoints(mesh, rank, world, folder):
    """Saved by four ranks after three steps, loaded by two and by one, and continued."""
    out = {}
    for cls in (AdamW, LAMB, Layerwise, Later):
        where = folder / f"checkpoint-{cls.__name__}"
        if world == 4:
            model = Model(mesh)
            optimizer = cls(model.parameters(), lr=0.02)
            model.steps(optimizer, range(6))
            out[f"{cls.__name__} without"] = told(optimizer, list(model.params))
        model = Model(mesh)
        optimizer = cls(model.parameters(), lr=0.02)
        if world == 4:
            model.steps(optimizer, range(3))
            weights, state = get_state_dict(model, optimizer)
            dcp.save({"model": weights, "optimizer": state}, checkpoint_id=where)
            optimizer = cls(model.parameters(), lr=0.02)
        weights, state = get_state_dict(model, optimizer)
        held = {"model": weights, "optimizer": state}
        with torch.no_grad():
            for p in model.params:
                p.mul_(0)
        dcp.load(held, checkpoint_id=where)
        set_state_dict(model, optimizer, model_state_dict=held["model"], optim_state_dict=held["optimizer"])
        model.steps(optimizer, range(3, 6))
        out[cls.__name__] = told(optimizer, list(model.params))
    return out


def gathered(mesh, rank, world, folder):
    """The whole state on every rank, and back into shares."""
    out = {}
    for kind in ("without", "with"):
        model = Model(mesh)
        optimizer = LAMB(model.parameters(), lr=0.02)
        model.steps(optimizer, range(3))
        if kind == "with":
            whole = StateDictOptions(full_state_dict=True)
            state = get_optimizer_state_dict(model, optimizer, options=whole)
            optimizer = LAMB(model.parameters(), lr=0.5)
            set_optimizer_state_dict(model, optimizer, state, options=whole)
        model.steps(optimizer, range(3, 6))
        out[kind] = told(optimizer, list(model.params))
    return out


def rehearsals(mesh, rank, world, folder):
    """Making state for the checkpoint library is no step, for a rule whose ranks talk."""
    model = Model(mesh)
    optimizer = LAMB(model.parameters(), max_grad_norm=1.0)
    get_state_dict(model, optimizer)
    return told(optimizer, list(model.params))


WRAPPED = (sharded_models, replicated_models, checkpoints, gathered, rehearsals)

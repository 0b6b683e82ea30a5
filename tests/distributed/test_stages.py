"""Which ranks are asked for which sums, on more ranks than are started: a process group that only pretends."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from accelerando.engine.exchange import Exchange, members
from accelerando.engine.sharding import reach
from accelerando.errors import UnsupportedTensorError
from accelerando.optim import LAMB

R, S = Replicate(), Shard(0)


@pytest.fixture(autouse=True)
def eight():
    torch.distributed.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
    yield
    torch.distributed.destroy_process_group()


def stages(sizes, *placements):
    """For each all-reduce: over how many ranks, and which parameters' rows."""
    mesh = init_device_mesh("cpu", sizes)
    params = [DTensor.from_local(torch.ones(4, 4), mesh, list(p), run_check=False) for p in placements]
    optimizer = LAMB(params)
    exchange = Exchange("LAMB", members(optimizer.param_groups, [LAMB.rules[None]]), 2, [])
    places = [m.position for m in exchange.members]
    return [(torch.distributed.get_world_size(s.ranks), [places[k] for k in s.rows]) for s in exchange.stages]


def test_one_set_of_dimensions_is_one_all_reduce():
    assert stages((8,), [S], [S]) == [(8, [0, 1])]
    assert stages((2, 4), [R, S], [R, S]) == [(4, [0, 1])]
    assert stages((2, 4), [S, S], [S, Shard(1)]) == [(8, [0, 1])]


def test_replicated_parameters_and_dimensions_of_one_rank_are_not_asked_for():
    assert stages((2, 4), [R, R], [R, S]) == [(4, [1])]
    assert stages((1, 8), [S, S], [R, S]) == [(8, [0, 1])]
    assert stages((1, 8), [S, R]) == []


def test_several_sets_are_one_all_reduce_each_or_one_for_each_dimension_if_those_are_fewer():
    assert stages((2, 4), [S, R], [S, S]) == [(2, [0]), (8, [1])]
    assert stages((2, 4), [S, R], [R, S], [S, S]) == [(2, [0, 2]), (4, [1, 2])]


def test_dimensions_that_no_group_of_ranks_spans_follow_one_another():
    assert stages((2, 2, 2), [R, S, S], [R, S, R]) == [(2, [0, 1]), (2, [0])]
    assert stages((2, 2, 2), [S, S, S]) == [(8, [0])]


def test_a_rank_outside_the_mesh_is_told():
    mesh = torch.distributed.device_mesh.DeviceMesh("cpu", [4, 5, 6, 7])
    p = DTensor.from_local(torch.ones(4, 4), mesh, [S], run_check=False)
    assert reach(p) == (mesh, (0,))
    with pytest.raises(UnsupportedTensorError, match=r"outside the mesh.*group 0, parameter 0"):
        Exchange("LAMB", members(LAMB([p]).param_groups, [LAMB.rules[None]]), 2, [])

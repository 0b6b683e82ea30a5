"""Meshes, mixed tensors, clipping, gradients that some ranks lack, and what is refused."""

import pytest
import torch

from .test_matrix import gap

SEVERAL = pytest.mark.parametrize("world", [2, 4])
SUMMED = {"LAMB", "Everything", "Later", "Layerwise"}


def alike(ranks, *keys):
    """What every rank says of a case, which is the same."""
    found = []
    for rank in ranks:
        for key in keys:
            rank = rank[key]
        found.append(rank)
    first = found[0]
    for other in found[1:]:
        assert {k: v for k, v in other.items() if k not in ("params", "buffers")} == {
            k: v for k, v in first.items() if k not in ("params", "buffers")
        }
        assert gap(other, first) == 0
    return first


@SEVERAL
@pytest.mark.parametrize("rule", ["AdamW", "LAMB", "Everything", "Later", "Layerwise"])
def test_whole_sharded_and_replicated_parameters_in_one_optimizer(found, world, rule):
    alone, mine = found[1][0]["mixed"][rule], alike(found[world], "mixed", rule)
    assert gap(mine, alone) <= (2e-7 if rule in SUMMED else 0)
    assert mine["calls"] == [int(rule in SUMMED)] * 6
    for a, b in zip(mine["memory"] + mine["kept"], alone["memory"] + alone["kept"], strict=True):
        assert a == pytest.approx(b, rel=1e-12)


@SEVERAL
@pytest.mark.parametrize("rule", ["Adam", "LAMB", "Everything"])
@pytest.mark.parametrize(("layout", "calls"), [("hybrid", 1), ("both", 1), ("sets", 2)])
def test_meshes_of_two_dimensions(found, world, rule, layout, calls):
    alone, mine = found[1][0]["grid"][layout, rule], alike(found[world], "grid", (layout, rule))
    assert gap(mine, alone) <= (2e-7 if rule in SUMMED else 0)
    calls = calls if world == 4 else 1  # a mesh of (1, 2) has one dimension to sum over
    assert mine["calls"] == [calls if rule in SUMMED else 0] * 6


@SEVERAL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.complex64])
def test_every_storage(found, world, dtype):
    assert gap(alike(found[world], "dtypes", dtype), found[1][0]["dtypes"][dtype]) == 0


@SEVERAL
@pytest.mark.parametrize(("rule", "calls"), [("AdamW", 1), ("LAMB", 2)])
def test_clipping_by_one_norm_over_all_shares(found, world, rule, calls):
    mine = alike(found[world], "clipped", rule)
    assert gap(mine, found[1][0]["clipped"][rule]) <= 2e-7
    assert mine["calls"] == [calls] * 6


@SEVERAL
@pytest.mark.parametrize(("rule", "calls"), [("AdamW", [1] * 6), ("LAMB", [2, 2, 1, 2, 2, 2])])
def test_every_rank_skips_where_one_has_an_element_that_is_not_finite(found, world, rule, calls):
    mine = alike(found[world], "nonfinite", ("skip", rule))
    assert gap(mine, found[1][0]["nonfinite"]["skip", rule]) <= (2e-7 if rule in SUMMED else 0)
    assert (mine["steps"], mine["calls"]) == ([5, 5, 5], calls)


@SEVERAL
def test_every_rank_raises_the_same(found, world):
    said = {rank["nonfinite"]["raise"] for rank in found[world]}
    assert said == {found[1][0]["nonfinite"]["raise"]}
    assert "group 1, parameter 0" in said.pop()
    assert alike(found[world], "nonfinite", "raised")["steps"] == [2, 2, 2]


@SEVERAL
@pytest.mark.parametrize("rule", sorted(SUMMED))
def test_a_rank_without_any_gradient_keeps_in_step(found, world, rule):
    mine = alike(found[world], "deserted", rule)
    assert (mine["steps"], mine["calls"]) == ([6, 6, 6], [2] * 6)


@SEVERAL
def test_a_missing_share_adds_nothing(found, world):
    none, zero = (alike(found[world], "absent_is_zero", kind) for kind in ("none", "zero"))
    assert gap(none, zero) == 0
    assert (none["kept"], none["steps"]) == (zero["kept"], zero["steps"])


@SEVERAL
def test_a_first_step_with_rate_zero_counts_on_every_rank(found, world):
    mine = alike(found[world], "rate_zero")
    assert mine["steps"] == found[1][0]["rate_zero"]["steps"] == [2, 2]
    assert mine["calls"] == [2, 1]  # the first asks whether it is the checkpoint library's


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_share_that_is_moved_is_stepped_where_it_is(found, world):
    left, moved = (alike(found[world], "moved", kind) for kind in ("left", "moved"))
    assert gap(left, moved) == 0


@pytest.mark.parametrize("world", [1, 2, 4])
def test_refusals_name_what_and_where(found, world):
    for rank in found[world]:
        said = rank["refusals"]
        assert "UnsupportedTensorError: Adam: a parameter placed as Partial(sum)" in said["partial"]
        assert "group 0, parameter 0" in said["partial"]
        assert "(Shard(dim=0),), its gradient as (Replicate(),)" in said["placement"]
        assert "redistribute" in said["placement"]
        assert said["loaded"].startswith("StateError: Adam: exp_avg is placed as (Replicate(),)")


@SEVERAL
def test_a_state_of_whole_tensors_is_cut(found, world):
    assert gap(alike([r["refusals"] for r in found[world]], "cut"), found[1][0]["refusals"]["cut"]) == 0
    assert found[1][0]["refusals"]["cut"]["buffers"][0]["exp_avg"].tolist() == [0, 1, 2, 3]

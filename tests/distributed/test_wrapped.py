"""Models under torch's wrappers, and checkpoints that change the number of ranks."""

import pytest
import torch

from .test_cases import SEVERAL, alike
from .test_matrix import gap

RULES = pytest.mark.parametrize("rule", ["AdamW", "LAMB"])


@SEVERAL
@RULES
@pytest.mark.parametrize("kind", ["fsdp", "hybrid"])
def test_fully_sharded_models(found, world, rule, kind):
    alone, mine = (
        found[1][0]["sharded_models"][kind, rule],
        alike(found[world], "sharded_models", (kind, rule)),
    )
    assert gap(mine, alone) <= (2e-7 if rule == "LAMB" else 0)
    assert mine["calls"] == [int(rule == "LAMB")] * 5


@SEVERAL
@RULES
def test_fully_sharded_and_tensor_parallel_models(found, world, rule):
    """The forward pass itself rounds otherwise, so that gradients do."""
    kind = "with tensor parallelism"
    alone, mine = (
        found[1][0]["sharded_models"][kind, rule],
        alike(found[world], "sharded_models", (kind, rule)),
    )
    assert gap(mine, alone) <= 1e-5
    assert mine["calls"] == [(2 if world == 4 else 1) if rule == "LAMB" else 0] * 5


@SEVERAL
@RULES
@pytest.mark.parametrize("kind", ["ddp", "zero"])
def test_replicated_models(found, world, rule, kind):
    alone = found[1][0]["replicated_models"]["ddp", rule]["params"]
    for rank in found[world]:
        mine = rank["replicated_models"][kind, rule]["params"]
        assert all(torch.equal(a, b) for a, b in zip(mine, alone, strict=True))


@SEVERAL
def test_flat_shards_are_stepped_without_sums_and_else_refused(found, world):
    alone = found[1][0]["replicated_models"]["ddp", "Adam"]["params"]
    for rank in found[world]:
        mine = rank["replicated_models"]["flat", "Adam"]["params"]
        assert all(torch.equal(a, b) for a, b in zip(mine, alone, strict=True))
        said = rank["replicated_models"]["flat", "LAMB"]
        assert said.startswith("UnsupportedTensorError: LAMB: the rule sums over tensors")
        said = rank["replicated_models"]["flat", "clip"]
        assert said.startswith(
            "UnsupportedTensorError: Adam: max_grad_norm would look at this rank's flat shards"
        )


@pytest.mark.parametrize("world", [1, 2, 4])
def test_what_zero_cannot_do_is_refused(found, world):
    for rank in found[world]:
        said = rank["replicated_models"]
        assert said["sums"].startswith("UnsupportedTensorError: Later: ZeroRedundancyOptimizer")
        assert "'gu' and 'size'" in said["sums"]
        assert "max_grad_norm" in said["clip"]


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("rule", ["AdamW", "LAMB", "Layerwise", "Later"])
def test_a_checkpoint_of_four_ranks_goes_on(found, world, rule):
    """As the four would have gone on without it."""
    never_stopped = found[4][0]["checkpoints"][f"{rule} without"]
    mine = alike(found[world], "checkpoints", rule)
    assert gap(mine, never_stopped) <= (0 if rule == "AdamW" or world == 4 else 2e-7)
    assert mine["steps"] == [6, 6, 6]
    for kind in ("memory", "kept"):
        for a, b in zip(mine[kind], never_stopped[kind], strict=True):
            assert a == pytest.approx(b, rel=1e-7)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_gathered_state_goes_back_into_shares(found, world):
    without, back = (alike(found[world], "gathered", kind) for kind in ("without", "with"))
    assert gap(without, back) == 0
    assert without["steps"] == back["steps"] == [6, 6, 6]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_making_state_for_a_checkpoint_is_no_step(found, world):
    assert alike(found[world], "rehearsals")["steps"] == [0, 0, 0]

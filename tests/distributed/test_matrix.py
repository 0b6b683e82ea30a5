"""One rank, two and four step alike: bitwise where no sum is taken, else to the rounding of a sum's order."""

import pytest
import torch

from .matrix import PLAIN, SUMMED

SEVERAL = pytest.mark.parametrize("world", [2, 4])
WHOLE = pytest.mark.parametrize("layout", ["even", "uneven", "empty", "large"])
TRANSCENDENTAL = {"Operations"}
"""Eager takes exp and log from torch, whose vectors and remainders differ in the last place."""


def gap(mine, alone):
    """The largest difference, of parameters and buffers."""
    pairs = list(zip(mine["params"], alone["params"], strict=True))
    for a, b in zip(mine["buffers"], alone["buffers"], strict=True):
        assert a.keys() == b.keys()
        pairs += [(a[name], b[name]) for name in a]
    return max(float((a - b).abs().max()) for a, b in pairs)


@SEVERAL
@WHOLE
@pytest.mark.parametrize("rule", PLAIN)
def test_elementwise_rules_step_shares_as_whole_tensors_without_a_word(found, rule, layout, world):
    (alone,) = found[1]
    for mine in found[world]:
        assert gap(mine[rule, layout], alone[rule, layout]) <= (2e-7 if rule in TRANSCENDENTAL else 0)
        assert mine[rule, layout]["steps"] == [6, 6, 6]
        assert mine[rule, layout]["memory"] == alone[rule, layout]["memory"]
        assert mine[rule, layout]["calls"] == [0] * 6


@SEVERAL
@WHOLE
@pytest.mark.parametrize("rule", SUMMED)
def test_rules_with_sums_step_as_whole_with_one_all_reduce(found, rule, layout, world):
    (alone,) = found[1]
    for mine in found[world]:
        assert gap(mine[rule, layout], alone[rule, layout]) <= 5e-7
        assert mine[rule, layout]["steps"] == [6, 6, 6]
        for kind in ("memory", "kept"):
            for a, b in zip(mine[rule, layout][kind], alone[rule, layout][kind], strict=True):
                assert a == pytest.approx(b, rel=1e-7)
        assert mine[rule, layout]["calls"] == [1] * 6


@SEVERAL
@pytest.mark.parametrize("rule", SUMMED)
def test_a_gradient_missing_on_one_rank_leaves_all_ranks_of_one_mind(found, rule, world):
    first = found[world][0][rule, "missing"]
    assert first["steps"] == [6, 6, 4]  # counted where it is missing, too; not where no rank has it
    for mine in found[world]:
        mine = mine[rule, "missing"]
        assert {k: mine[k] for k in ("steps", "kept", "memory", "calls")} == {
            k: first[k] for k in ("steps", "kept", "memory", "calls")
        }
        assert mine["calls"] == [1] * 6
        assert all(torch.equal(a, b) for a, b in zip(mine["params"], first["params"], strict=True))


@SEVERAL
@pytest.mark.parametrize("rule", PLAIN)
def test_an_elementwise_rule_counts_its_own_steps_where_a_gradient_is_missing(found, rule, world):
    for rank, mine in enumerate(found[world]):
        assert mine[rule, "missing"]["steps"] == [6, 4 if rank == world - 1 else 6, 4]
        assert mine[rule, "missing"]["calls"] == [0] * 6


def test_one_rank_needs_nobody(found):
    for rule in PLAIN | SUMMED:
        assert found[1][0][rule, "uneven"]["calls"] == [0] * 6

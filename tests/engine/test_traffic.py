"""What the model of traffic says, against counts made by hand from the papers' update rules."""

import pytest
import torch

from accelerando import LAMB, AdaBelief, Adam, AdamW, RAdam
from accelerando.engine.passes import passes
from accelerando.engine.traffic import traffic

BF16 = torch.bfloat16


@pytest.mark.parametrize("cls", [Adam, AdamW, RAdam, AdaBelief])
def test_adam_and_its_kin_read_four_arrays_and_write_three(cls):
    moved = traffic(cls.rules[None])
    assert (moved.read, moved.written, moved.total, moved.passes) == (16, 12, 28, 1)


def test_amsgrad_reads_and_writes_one_more():
    assert traffic(AdamW.rules["amsgrad"]).total == 36


def test_half_precision_parameters():
    assert traffic(AdamW.rules[None], BF16).total == 22
    assert traffic(AdamW.rules[None], BF16, gradient=torch.float32).total == 24
    assert traffic(AdamW.rules[None], BF16, state=BF16).total == 14
    assert traffic(AdamW.rules[None], torch.float64).total == 56


def test_lamb_makes_its_direction_again_from_the_stored_moments():
    first, second = passes(LAMB.rules[None])
    assert first.reads == ("p", "g", "exp_avg", "exp_avg_sq")
    assert first.writes == ("exp_avg", "exp_avg_sq")
    assert second.reads == ("p", "exp_avg", "exp_avg_sq")
    assert second.writes == ("p",)
    assert traffic(LAMB.rules[None]).total == 40


def test_moments_stored_rounded_are_computed_again_from_the_gradient():
    first, second = passes(LAMB.rules[None], exact=False)
    assert first.writes == ()
    assert second.reads == ("p", "g", "exp_avg", "exp_avg_sq")
    assert traffic(LAMB.rules[None], BF16, state=BF16).total == 22


def test_a_look_at_the_gradients_reads_them_once_more():
    assert traffic(AdamW.rules[None], surveyed=True).total == 32
    assert traffic(LAMB.rules[None], BF16, surveyed=True).passes == 3

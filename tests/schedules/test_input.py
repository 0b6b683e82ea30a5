"""Bad calls of the schedulers: the message names owner, field, constraint, value and the way out."""

import pytest
import torch

from accelerando import schedules as s

CALLS = [
    (lambda o: s.CyclicLR(o, 0.1, 0.01), r"CyclicLR: max_lr must be .*base_lr=0.1, got 0.01 \(group 0\)"),
    (lambda o: s.CyclicLR(o, 0.1, 0.2, step_size_up=0), "up must be a whole number of at least 1, got 0"),
    (lambda o: s.CyclicLR(o, -0.1, 0.2), r"CyclicLR: base_lr must be a number in \[0, inf\], got -0.1"),
    (lambda o: s.CyclicLR(o, [0.1, 0.1], 0.2), "base_lr must be one number or .* got 2"),
    (lambda o: s.CyclicLR(o, 0.1, 0.2, mode="sine"), "mode must be one of triangular"),
    (lambda o: s.OneCycleLR(o, 0.1), "OneCycleLR: total_steps is missing; give it, or both epochs and"),
    (lambda o: s.OneCycleLR(o, 0.1, epochs=3), "total_steps is missing.*steps_per_epoch=None"),
    (lambda o: s.OneCycleLR(o, 0.1, total_steps=-3), "total_steps must be a whole .* got -3"),
    (lambda o: s.OneCycleLR(o, 0.1, 10, pct_start=1.5), "pct_start must be a number in"),
    (lambda o: s.CosineAnnealingLR(o, 0), "CosineAnnealingLR: T_max must .* least 1, got 0"),
    (lambda o: s.CosineAnnealingLR(o, 10, last_epoch=-3), "last_epoch must be a whole number of at least -1"),
    (lambda o: s.LinearLR(o, start_factor=1.5), "start_factor must be a number in"),
    (lambda o: s.StepLR(o, 0), "StepLR: step_size must be"),
    (lambda o: s.ExponentialLR(o, float("nan")), "ExponentialLR: gamma must be a number in"),
    (lambda o: s.MultiStepLR(o, []), "milestones must be a list of steps"),
    (lambda o: s.LambdaLR(o, [len, len]), "one function for each of the 1 groups, got 2"),
    (lambda o: s.ScheduledLR(o, s.per_group(s.cosine(3), s.cosine(4))), "one schedule for each"),
    (lambda o: s.ScheduledLR(o, []), "needs at least one schedule"),
    (lambda o: s.SequentialLR(o, [], []), "milestones must be|at least one"),
    (lambda o: s.SequentialLR(o, [s.StepLR(o, 3)] * 2, [3]), "already in a SequentialLR|given twice"),
    (lambda o: s.SequentialLR(o, [s.StepLR(o, 3), s.StepLR(o, 3)], [5, 9]), "1 rising steps"),
    (lambda o: s.SequentialLR(o, [s.StepLR(o, 3), s.StepLR(o, 3), s.StepLR(o, 4)], [9, 5]), "2 rising steps"),
    (lambda o: s.ChainedScheduler([]), "schedulers must be a list of at least one, got none"),
    (lambda o: s.StepLR(o, 3).advance(-1), "step must be at least 0, got -1"),
    (lambda o: s.WSD(o, 10, 20), "stable and decay belong together"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), CALLS)
def test_bad_values(call, words, run):
    with pytest.raises(ValueError, match=words):
        call(run().optimizer)


def test_an_optimizer_without_groups(run):
    one = run()
    one.optimizer.param_groups.clear()
    with pytest.raises(ValueError, match="the optimizer has no parameter groups; add one first"):
        s.CosineAnnealingLR(one.optimizer, 10)


def test_a_group_without_a_rate(run):
    one = run()
    del one.optimizer.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="group 0 of AdamW has no lr"):
        s.CosineAnnealingLR(one.optimizer, 10)


def test_not_an_optimizer_or_not_ours(run):
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer, got int"):
        s.CosineAnnealingLR(3, 10)
    one = run()
    torchs = torch.optim.lr_scheduler.StepLR(one.optimizer, 3)
    with pytest.raises(TypeError, match=r"schedulers\[0\] must be one of accelerando.schedules, got StepLR"):
        s.ChainedScheduler([torchs], one.optimizer)
    with pytest.raises(ValueError, match=r"schedulers\[0\] belongs to another optimizer"):
        s.ChainedScheduler([s.StepLR(one.optimizer, 3)], run().optimizer)


def test_resuming_without_the_rate_it_began_with(run):
    with pytest.raises(KeyError, match="load the optimizer's state first"):
        s.CosineAnnealingLR(run().optimizer, 10, last_epoch=3)


def test_bad_input_leaves_the_optimizer_as_it_was(run):
    one = run()
    before = repr(one.optimizer.state_dict())
    for call, _ in CALLS[:19]:
        with pytest.raises(ValueError):
            call(one.optimizer)
    assert repr(one.optimizer.state_dict()) == before

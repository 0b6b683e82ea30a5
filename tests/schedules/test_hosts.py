"""What training code does to schedulers: groups, tensors, other hands, other schedulers, copies."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as theirs

from accelerando import schedules as s

SHELLS = ("CyclicLR CosineAnnealingLR CosineAnnealingWarmRestarts ReduceLROnPlateau OneCycleLR LinearLR "
          "ExponentialLR StepLR MultiStepLR PolynomialLR ConstantLR LambdaLR SequentialLR ChainedScheduler "
          "WSD ScheduledLR RaiseOnProgress").split()  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
def test_each_is_torchs_kind_with_torchs_arguments(name):
    import inspect

    cls = getattr(s, name)
    assert issubclass(cls, theirs.LRScheduler)
    if hasattr(theirs, name):
        torchs = list(inspect.signature(getattr(theirs, name)).parameters)
        assert list(inspect.signature(cls).parameters)[: len(torchs)] == torchs
    assert issubclass(s.ReduceLROnPlateau, theirs.ReduceLROnPlateau)


def test_the_optimizer_is_not_patched(run):
    one = run()
    scheduler = s.CosineAnnealingLR(one.optimizer, 10)
    one.follow(scheduler, 3)
    assert "step" not in vars(one.optimizer)


def test_wrong_order_does_not_skip_the_first_rate(run):
    one = run()
    scheduler = s.ExponentialLR(one.optimizer, 0.5)
    rates = []
    for _ in range(4):
        scheduler.step()
        rates.append(one.lr)
        one.optimizer.step()
    assert rates == [0.1, 0.05, 0.025, 0.0125]


def test_steps_without_an_optimizer_step_are_said_once(run):
    one = run()
    scheduler = s.ExponentialLR(one.optimizer, 0.5)
    for _ in range(19):
        scheduler.step()
    with pytest.warns(UserWarning, match=r"step\(\) was called 20 times in a row.*use advance\(\)"):
        scheduler.step()
    for _ in range(100):
        scheduler.step()
    assert one.lr == 0.1 and scheduler.describe().of("held")
    scheduler.advance(3)
    assert one.lr == 0.0125
    scheduler.step(1)
    assert one.lr == 0.05


def test_a_host_that_steps_for_every_process(run):
    one = run()
    scheduler = s.ExponentialLR(one.optimizer, 0.5)
    one.optimizer.step()
    for _ in range(8):
        scheduler.step()
    assert scheduler.last_epoch == 1


def test_an_epoch_of_steps_is_one_step_of_the_scheduler(run):
    one = run()
    scheduler = s.StepLR(one.optimizer, 2, 0.1)
    for _ in range(4):
        for _ in range(10):
            one.optimizer.step()
        scheduler.step()
    assert one.lr == pytest.approx(0.001)


def test_a_tensor_is_filled_and_never_replaced(run):
    rate = torch.tensor(0.1)
    one = run(foreach=False)
    group = one.optimizer.param_groups[0]
    group["lr"] = rate
    scheduler = s.ChainedScheduler([s.CosineAnnealingLR(one.optimizer, 10), s.LinearLR(one.optimizer)])
    shown = scheduler.get_last_lr()[0]
    for _ in range(5):
        one.optimizer.step()
        scheduler.step()
    assert group["lr"] is rate and float(rate) == pytest.approx(0.05)
    assert float(shown) == pytest.approx(0.1 / 3) and shown is not rate
    rate.mul_(0.1)
    for _ in range(2):
        one.optimizer.step()
        scheduler.step()
    assert group["lr"] is rate and float(rate) == pytest.approx(0.01 * s.cosine(10)(7), rel=1e-6)


def test_hands_at_the_rate(run):
    one = run(lr=[0.1, 0.2])
    scheduler = s.CosineAnnealingLR(one.optimizer, 100)
    one.follow(scheduler, 10)
    one.optimizer.param_groups[1]["lr"] = 0.05
    factor = 0.05 / (0.2 * s.cosine(100)(10))
    one.follow(scheduler, 10)
    assert one.lrs == pytest.approx([0.1 * s.cosine(100)(20), 0.2 * factor * s.cosine(100)(20)], rel=1e-12)
    (finding,) = scheduler.describe().of("outside")
    assert finding.group == 1 and finding.factor == pytest.approx(factor)


def test_a_rate_set_by_hand_stays_to_the_last_bit_while_the_schedule_holds(run):
    one = run()
    scheduler = s.ScheduledLR(one.optimizer, s.warmup(3))
    one.follow(scheduler, 5)
    one.optimizer.param_groups[0]["lr"] = 0.0123
    one.follow(scheduler, 5)
    assert one.lr == 0.0123


def test_a_rate_set_by_hand_at_zero_stays_until_the_schedule_rises(run):
    one = run()
    scheduler = s.ScheduledLR(one.optimizer, s.linear(5) >> s.constant(0.0, 5) >> s.warmup(4, start=0.5))
    one.follow(scheduler, 6)
    assert one.lr == 0.0
    one.optimizer.param_groups[0]["lr"] = 0.03
    assert one.follow(scheduler, 4) == [[0.03]] * 4
    assert one.lr == pytest.approx(0.05)


def test_schedulers_side_by_side_multiply_even_through_zero(run):
    for first_cyclic in (True, False):
        one = run()
        makers = [lambda o: s.CyclicLR(o, 0.0, 0.4, 5, cycle_momentum=False),
                  lambda o: s.ScheduledLR(o, s.warmup(20, start=0.0))]  # fmt: skip
        made = [make(one.optimizer) for make in (makers if first_cyclic else makers[::-1])]
        t = np.arange(40)
        rates = []
        for _ in t:
            rates.append(one.lr)
            one.optimizer.step()
            for scheduler in made:
                scheduler.step()
        expected = 0.4 * s.cyclic(5, low=0.0)(t) * s.warmup(20, start=0.0)(t)
        np.testing.assert_allclose(rates, expected, atol=1e-15)


def test_a_cut_at_the_foot_of_a_cycle_is_not_lost(run):
    one = run()
    cycle = s.CyclicLR(one.optimizer, 0.0, 0.1, 5, cycle_momentum=False)
    plateau = s.ReduceLROnPlateau(one.optimizer, patience=0)
    plateau.step(1.0)
    one.follow(cycle, 10)
    assert one.lr == 0.0
    plateau.step(1.0)
    one.follow(cycle, 5)
    assert one.lr == pytest.approx(0.01)


def test_beside_a_scheduler_of_torch(run):
    one = run()
    warm = theirs.LinearLR(one.optimizer, 0.1, total_iters=10)
    plateau = s.ReduceLROnPlateau(one.optimizer, patience=0)
    plateau.step(1.0)
    one.follow(warm, 5)
    plateau.step(2.0)
    one.follow(warm, 10)
    assert one.lr == pytest.approx(0.01)


def test_inside_torchs_containers(run):
    one = run()
    parts = [s.LinearLR(one.optimizer, 0.1, total_iters=5), s.CosineAnnealingLR(one.optimizer, 20)]
    rates = np.ravel(one.follow(theirs.ChainedScheduler(parts, one.optimizer), 30))
    np.testing.assert_allclose(rates, 0.1 * (s.linear(5, 0.1, 1.0) * s.cosine(20))(np.arange(30)), atol=1e-15)
    with pytest.raises(TypeError, match=r"use accelerando\.schedules\.SequentialLR"):
        theirs.SequentialLR(one.optimizer, parts, [5])


def test_a_finished_run_can_be_taken_up_by_a_new_schedule(run):
    one = run()
    one.follow(s.CosineAnnealingLR(one.optimizer, 10), 12)
    other = run()
    other.optimizer.load_state_dict(one.optimizer.state_dict())
    assert other.lr == 0.0
    s.CosineAnnealingLR(other.optimizer, 10)
    assert other.lr == 0.1


def test_a_detached_scheduler_counts_no_more(run):
    one = run()
    first = s.LinearLR(one.optimizer, 1.0, 0.0, total_iters=10)
    one.follow(first, 20)
    first.detach()
    second = s.CosineAnnealingLR(one.optimizer, 10)
    assert one.lr == 0.1
    assert one.follow(second, 6)[5][0] == pytest.approx(0.05)


def test_a_group_that_is_added_starts_with_its_own_rate(run):
    one = run()
    scheduler = s.ScheduledLR(one.optimizer, s.cosine(100))
    plateau = s.ReduceLROnPlateau(one.optimizer, patience=0)
    plateau.step(1.0)
    plateau.step(1.0)
    one.follow(scheduler, 49)
    one.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.4})
    assert one.lrs[1] == 0.4
    one.follow(scheduler, 1)
    assert one.lrs == pytest.approx([0.005, 0.2])
    plateau.step(1.0)
    assert one.lrs == pytest.approx([0.0005, 0.02])
    assert s.ScheduledLR(one.optimizer, s.per_group(s.constant(), s.constant())).lr_at(0) == one.lrs


def test_timms_layer_scale(run):
    one = run(lr=[0.1, 0.1])
    one.optimizer.param_groups[1]["lr_scale"] = 0.25
    scheduler = s.CosineAnnealingLR(one.optimizer, 10)
    assert one.lrs == [0.1, 0.025]
    one.follow(scheduler, 5)
    assert one.lrs == pytest.approx([0.05, 0.0125])


def test_timms_loop(run):
    one = run()
    scheduler = s.for_timm(s.ScheduledLR(one.optimizer, s.warmup(4) >> s.cosine(16)))
    updates = 0
    for epoch in range(5):
        for _ in range(4):
            one.optimizer.step()
            updates += 1
            scheduler.step_update(num_updates=updates, metric=0.3)
        scheduler.step(epoch + 1, 0.2)
    assert one.lr == pytest.approx(0.1 * (s.warmup(4) >> s.cosine(16))(20))
    by_epoch = run()
    slow = s.for_timm(s.StepLR(by_epoch.optimizer, 2), per="epoch")
    slow.step_update(7)
    slow.step(2, None)
    assert by_epoch.lr == pytest.approx(0.01)
    state = slow.state_dict()
    slow.load_state_dict(state)


def test_an_optimizer_in_a_wrapper_without_hooks(run):
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer

        @property
        def param_groups(self):
            return self.optimizer.param_groups

        @property
        def defaults(self):
            return self.optimizer.defaults

        def step(self, closure=None):
            return self.optimizer.step(closure)

    one = run()
    wrapped = Wrapper(one.optimizer)
    scheduler = s.ExponentialLR(wrapped, 0.5)
    wrapped.step()
    scheduler.step()
    scheduler.step()
    assert one.lr == 0.05


def test_our_own_optimizer_and_its_copy_in_torch_names(run):
    import accelerando

    one = run(kind=accelerando.AdamW)
    scheduler = s.CyclicLR(one.optimizer, base_lr=1e-5, max_lr=1e-3, step_size_up=20, cycle_momentum=False)
    rates = np.ravel(one.follow(scheduler, 50))
    np.testing.assert_allclose(rates, 1e-3 * s.cyclic(20, low=0.01)(np.arange(50)), rtol=1e-12)
    other = run(kind=accelerando.AdamW)
    torchs = theirs.CyclicLR(other.optimizer, base_lr=1e-5, max_lr=1e-3, step_size_up=20)
    np.testing.assert_allclose(np.ravel(other.follow(torchs, 50)), rates, rtol=1e-9)


def test_a_cool_down_begins_when_it_is_asked_for(run):
    one = run()
    scheduler = s.WSD(one.optimizer, 10)
    one.follow(scheduler, 100)
    scheduler.cool_down(50, "linear", final=0.1)
    rates = np.ravel(one.follow(scheduler, 60))
    np.testing.assert_allclose(rates[:51], np.linspace(0.1, 0.01, 51))
    assert (rates[50:] == rates[50]).all()


def test_closures_are_steps_too(run):
    one = run()
    scheduler = s.ExponentialLR(one.optimizer, 0.5)
    one.optimizer.step(lambda: torch.tensor(1.0))
    scheduler.step()
    assert one.lr == 0.05


def test_only_the_acting_member_of_a_sequence_moves_momentum(run):
    one = run(betas=(0.95, 0.999))
    parts = [s.ConstantLR(one.optimizer, 1.0), s.CyclicLR(one.optimizer, 0.01, 0.1, 5, cycle_momentum=True)]
    one.optimizer.param_groups[0]["betas"] = (0.95, 0.999)
    scheduler = s.SequentialLR(one.optimizer, parts, [10])
    one.follow(scheduler, 9)
    assert one.optimizer.param_groups[0]["betas"][0] == 0.95
    one.follow(scheduler, 6)
    assert one.optimizer.param_groups[0]["betas"][0] == pytest.approx(0.8)


def test_a_replaced_schedule_holds_for_later_groups_and_after_a_resume(run):
    one, other = run(), run()
    scheduler = s.ScheduledLR(one.optimizer, s.cosine(100))
    scheduler.replace(s.constant(0.5))
    assert one.lr == 0.05
    again = s.ScheduledLR(other.optimizer, s.constant(0.5))
    again.load_state_dict(scheduler.state_dict())
    other.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.4})
    other.follow(again, 2)
    assert other.lrs == [0.05, 0.2]

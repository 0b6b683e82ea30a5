"""Where torch surprises: what torch does, and what ours does instead; a change in torch fails too."""

import copy

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as theirs

from accelerando import schedules as ours


def test_cosine_past_its_end(run):
    one, other = run(), run()
    up = one.follow(theirs.CosineAnnealingLR(one.optimizer, 10), 31)
    held = other.follow(ours.CosineAnnealingLR(other.optimizer, 10, eta_min=0.001), 31)
    assert up[10][0] == pytest.approx(0) and up[20][0] == pytest.approx(0.1)
    assert [lr for (lr,) in held[10:]] == pytest.approx([0.001] * 21, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "torch_keeps"),
    [
        ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.001}, False),
        ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "cycle_momentum": False}, False),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 40}, False),
        ("LambdaLR", {"lr_lambda": lambda step: 1.0}, False),
        ("CosineAnnealingWarmRestarts", {"T_0": 10}, False),
        ("ExponentialLR", {"gamma": 0.99}, True),
        ("LinearLR", {"total_iters": 30}, True),
    ],
)
def test_a_cut_by_another_hand(name, options, torch_keeps, run):
    def kept(module):
        plain, cut = run(), run()
        schedulers = [getattr(module, name)(one.optimizer, **options) for one in (plain, cut)]
        for t in range(20):
            for one, scheduler in zip((plain, cut), schedulers, strict=True):
                one.optimizer.step()
                scheduler.step()
            if t == 4:
                cut.optimizer.param_groups[0]["lr"] *= 0.1
        return cut.lr / plain.lr

    assert kept(ours) == pytest.approx(0.1)
    assert (abs(kept(theirs) - 0.1) < 1e-6) == torch_keeps


def test_cyclic_and_beta1(run):
    options = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5}
    one, other, asked = (run(betas=(0.95, 0.98)) for _ in range(3))
    theirs.CyclicLR(one.optimizer, **options)
    assert one.optimizer.param_groups[0]["betas"] == (0.9, 0.98)
    with pytest.warns(UserWarning, match=r"leaves momentum \(beta1\) at 0.95.*cycle_momentum=False to agree"):
        scheduler = ours.CyclicLR(other.optimizer, **options)
    other.follow(scheduler, 12)
    assert other.optimizer.param_groups[0]["betas"] == (0.95, 0.98)
    asked.follow(ours.CyclicLR(asked.optimizer, **options, cycle_momentum=True), 5)
    assert asked.optimizer.param_groups[0]["betas"] == pytest.approx((0.8, 0.98))


def test_cyclic_without_momentum(run):
    options = {"base_lr": 0.01, "max_lr": 0.1}
    with pytest.raises(ValueError, match="must support momentum"):
        theirs.CyclicLR(run(kind=torch.optim.Adagrad).optimizer, **options)
    ours.CyclicLR(run(kind=torch.optim.Adagrad).optimizer, **options)
    with pytest.raises(
        ValueError, match=r"cycle_momentum=True needs.*Adagrad \(group 0\).*cycle_momentum=False"
    ):
        ours.CyclicLR(run(kind=torch.optim.Adagrad).optimizer, **options, cycle_momentum=True)


def test_cyclic_and_the_dictionary_it_loads(run):
    for module, spared in ((theirs, False), (ours, True)):
        scheduler = module.CyclicLR(run().optimizer, 0.01, 0.1, cycle_momentum=False)
        state = scheduler.state_dict()
        before = copy.deepcopy(state)
        scheduler.load_state_dict(state)
        assert (state == before) == spared
    scheduler.load_state_dict(state)


def test_loading_the_optimizer_before_the_scheduler_is_built(run):
    def build(module, one):
        warm = module.LinearLR(one.optimizer, 0.1, total_iters=10)
        return module.SequentialLR(one.optimizer, [warm, module.CosineAnnealingLR(one.optimizer, 100)], [10])

    def last_over_wanted(module):
        one = run()
        scheduler = build(module, one)
        one.follow(scheduler, 30)
        saved = copy.deepcopy((one.optimizer.state_dict(), scheduler.state_dict()))
        other = run()
        other.optimizer.load_state_dict(saved[0])
        again = build(module, other)
        again.load_state_dict(saved[1])
        return other.follow(again, 50)[-1][0] / one.follow(scheduler, 50)[-1][0]

    assert last_over_wanted(ours) == 1.0
    assert last_over_wanted(theirs) < 0.2


def started_scaler():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.ones(1))
    return scaler


def test_a_step_that_the_scaler_skipped(run):
    for module, steps in ((theirs, 6), (ours, 2)):
        one = run()
        scheduler = module.ExponentialLR(one.optimizer, 0.5)
        scaler = started_scaler()
        for t in range(6):
            value = float("inf") if t < 4 else 1.0
            one.optimizer.param_groups[0]["params"][0].grad = torch.full((2,), value)
            scaler.step(one.optimizer)
            scaler.update()
            with _torch_may_grumble():
                scheduler.step()
        assert scheduler.last_epoch == steps and one.lr == pytest.approx(0.1 * 0.5**steps)


def test_a_step_skipped_on_the_device(run):
    one = run(kind=torch.optim.AdamW, fused=True)
    scheduler = ours.ExponentialLR(one.optimizer, 0.5)
    scaler = started_scaler()
    for t in range(6):
        one.optimizer.param_groups[0]["params"][0].grad = torch.full((2,), float("inf") if t < 4 else 1.0)
        scaler.step(one.optimizer)
        scaler.update()
        scheduler.step()
    assert scheduler.last_epoch == 2


@pytest.mark.parametrize(
    ("name", "options", "torch_breaks"),
    [
        ("LambdaLR", {"lr_lambda": lambda step: 0.5**step}, True),
        ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False}, True),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 40}, True),
        ("CosineAnnealingWarmRestarts", {"T_0": 10}, True),
        ("CosineAnnealingLR", {"T_max": 10}, False),
        ("ExponentialLR", {"gamma": 0.9}, False),
    ],
)
def test_a_group_added_later(name, options, torch_breaks, run):
    new = {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.2}
    for module, breaks in ((theirs, torch_breaks), (ours, False)):
        one = run()
        scheduler = getattr(module, name)(one.optimizer, **options)
        one.follow(scheduler, 3)
        one.optimizer.add_param_group(dict(new, params=[torch.nn.Parameter(torch.zeros(1))]))
        one.optimizer.step()
        if breaks:
            with pytest.raises((ValueError, KeyError)):
                scheduler.step()
        else:
            scheduler.step()
            first, second = one.lrs
            if module is ours:
                assert second / first == pytest.approx(1 if name in ("CyclicLR", "OneCycleLR") else 2)


def test_a_sequence_inside_a_chain(run):
    def build(module, optimizer):
        parts = [module.ConstantLR(optimizer, 0.5, 7), module.StepLR(optimizer, 9)]
        inner = module.SequentialLR(optimizer, parts, [12])
        return module.ChainedScheduler([inner, module.ExponentialLR(optimizer, 0.99)])

    one, other = run(), run()
    forgetting = np.ravel(one.follow(build(theirs, one.optimizer), 40))
    product = np.ravel(other.follow(build(ours, other.optimizer), 40))
    np.testing.assert_allclose(product[:12], forgetting[:12])
    np.testing.assert_allclose(forgetting[12] / product[12], 0.99**-11)


def test_plateau_and_nan(run):
    one, other = run(), run()
    cutting = theirs.ReduceLROnPlateau(one.optimizer, patience=2)
    for _ in range(4):
        cutting.step(float("nan"))
    assert one.lr == pytest.approx(0.01)
    waiting = ours.ReduceLROnPlateau(other.optimizer, patience=2)
    waiting.step(1.0)
    with pytest.warns(UserWarning, match="the metric is nan; it is left out of the evidence"):
        waiting.step(float("nan"))
    for _ in range(10):
        waiting.step(float("nan"))
    assert (
        other.lr == 0.1 and waiting.best == 1.0 and waiting.num_bad_epochs == 0 and waiting.not_finite == 11
    )
    assert "11 values of the metric were not finite" in str(waiting.describe())


def test_one_cycle_past_its_end(run):
    one, other = run(), run()
    breaking = theirs.OneCycleLR(one.optimizer, 0.1, total_steps=10)
    one.follow(breaking, 10)
    with pytest.raises(ValueError, match="Tried to step 11 times"):
        one.follow(breaking, 1)
    holding = ours.OneCycleLR(other.optimizer, 0.1, total_steps=10)
    other.follow(holding, 10)
    with pytest.warns(UserWarning, match="step 11 is past total_steps=10; the rate holds 4e-07"):
        held = other.follow(holding, 10)
    assert np.ptp(held) == 0


def test_a_container_with_a_metric(run):
    with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau`"):
        one = run()
        theirs.ChainedScheduler([theirs.ReduceLROnPlateau(one.optimizer)], optimizer=one.optimizer)
    one = run()
    parts = [
        ours.LinearLR(one.optimizer, 0.1, total_iters=10),
        ours.ReduceLROnPlateau(one.optimizer, patience=0),
    ]
    chained = ours.ChainedScheduler(parts)
    one.follow(chained, 20, feed=lambda t: 1.0 if t in (3, 6) else None)
    assert one.lr == pytest.approx(0.01)


class _torch_may_grumble:
    """torch warns about the order of steps when the first ones were skipped."""

    def __enter__(self):
        import warnings

        self.caught = warnings.catch_warnings()
        self.caught.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *_):
        self.caught.__exit__(None, None, None)

"""torch's schedulers and ours on the same optimizer: 10,000 steps of rates and momentum."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as theirs

from accelerando import schedules as ours

STEPS = 10_000

CASES = {
    "constant": ("ConstantLR", {"factor": 0.3, "total_iters": 777}),
    "linear": ("LinearLR", {"start_factor": 0.01, "total_iters": 3000}),
    "polynomial": ("PolynomialLR", {"total_iters": STEPS, "power": 2.0}),
    "exponential": ("ExponentialLR", {"gamma": 0.9995}),
    "step": ("StepLR", {"step_size": 999, "gamma": 0.5}),
    "multi step": ("MultiStepLR", {"milestones": [5000, 100, 5000, 9000]}),
    "cosine": ("CosineAnnealingLR", {"T_max": STEPS, "eta_min": 0.01}),
    "restarts": ("CosineAnnealingWarmRestarts", {"T_0": 100, "T_mult": 1, "eta_min": 0.001}),
    "longer restarts": ("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": 2}),
    "triangular": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 301, "cycle_momentum": True}),
    "uneven": ("CyclicLR", {"base_lr": 0.0, "max_lr": 0.2, "step_size_up": 100, "step_size_down": 700,
                            "cycle_momentum": False}),
    "triangular2": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 500, "mode": "triangular2",
                                 "cycle_momentum": True}),
    "exp_range": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 50, "mode": "exp_range",
                               "gamma": 0.9995, "cycle_momentum": True, "base_momentum": 0.5}),
    "scale_fn": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 50, "cycle_momentum": True,
                              "scale_fn": lambda cycle: 1 / cycle}),
    "one cycle": ("OneCycleLR", {"max_lr": 0.2, "total_steps": STEPS}),
    "one cycle by epochs": ("OneCycleLR", {"max_lr": 0.2, "epochs": 100, "steps_per_epoch": 100,
                                           "anneal_strategy": "linear", "cycle_momentum": False}),
    "three phases": ("OneCycleLR", {"max_lr": 0.2, "total_steps": STEPS, "three_phase": True}),
    "no rise": ("OneCycleLR", {"max_lr": 0.2, "total_steps": STEPS, "pct_start": 0.0}),
    "lambda": ("LambdaLR", {"lr_lambda": lambda step: 0.999**step}),
}  # fmt: skip


def rates(module, name, options, run, steps=STEPS, **settings):
    one = run(lr=0.1, **settings)
    scheduler = getattr(module, name)(one.optimizer, **options)
    values = []
    for _ in range(steps):
        group = one.optimizer.param_groups[0]
        values.append((float(group["lr"]), *group.get("betas", (group.get("momentum"),))))
        one.optimizer._opt_called = True
        hook(one.optimizer)
        scheduler.step()
    return np.array(values)


def hook(optimizer):
    """What an optimizer step tells schedulers, without its arithmetic."""
    for heard in optimizer._optimizer_step_post_hooks.values():
        heard(optimizer, (), {})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_equal_to_torch_over_ten_thousand_steps(case, run):
    name, options = CASES[case]
    one, other = (rates(module, name, options, run) for module in (theirs, ours))
    np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["triangular", "one cycle"])
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_momentum_of_sgd_too(case, run):
    name, options = CASES[case]
    kind = {"kind": torch.optim.SGD, "momentum": 0.3, "steps": 2000}
    one, other = (rates(module, name, options, run, **kind) for module in (theirs, ours))
    np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)


METRICS = {
    "noisy": {},
    "patient": {"patience": 3, "factor": 0.5},
    "absolute": {"threshold_mode": "abs", "threshold": 0.02, "patience": 2},
    "upwards": {"mode": "max", "patience": 4, "cooldown": 5},
    "upwards absolute": {"mode": "max", "threshold_mode": "abs", "threshold": 0.01, "patience": 4},
    "floor": {"patience": 1, "factor": 0.5, "min_lr": 0.003},
    "eps": {"patience": 1, "factor": 0.5, "eps": 1e-3},
}


@pytest.mark.parametrize("case", METRICS)
def test_plateau_is_torchs(case, run):
    metric = 1 / np.sqrt(np.arange(1, STEPS + 1)) + 0.05 * np.random.default_rng(0).normal(size=STEPS)
    all_rates = []
    for module in (theirs, ours):
        one = run(lr=0.1)
        scheduler = module.ReduceLROnPlateau(one.optimizer, **METRICS[case])
        lrs = []
        for value in metric:
            scheduler.step(value)
            lrs.append(one.lr)
        all_rates.append(lrs)
    np.testing.assert_allclose(all_rates[1], all_rates[0], rtol=1e-12, atol=1e-15)
    assert all_rates[0][-1] < 0.1


def chain(module, optimizer):
    parts = [module.ConstantLR(optimizer, 0.1, 20), module.ExponentialLR(optimizer, 0.9),
             module.LinearLR(optimizer, 0.5, total_iters=50)]  # fmt: skip
    return module.ChainedScheduler(parts, optimizer=optimizer)


def sequence(module, optimizer):
    parts = [module.LinearLR(optimizer, 0.1, total_iters=30), module.CosineAnnealingLR(optimizer, 100),
             module.ExponentialLR(optimizer, 0.9)]  # fmt: skip
    return module.SequentialLR(optimizer, parts, [30, 130])


@pytest.mark.parametrize("build", [chain, sequence])
def test_containers_are_torchs(build, run):
    both = []
    for module in (theirs, ours):
        one = run(lr=[0.1, 0.3])
        both.append(one.follow(build(module, one.optimizer), 200))
    np.testing.assert_allclose(both[1], both[0], rtol=1e-9, atol=1e-15)


def test_fractions_of_an_epoch(run):
    both = []
    for module in (theirs, ours):
        one = run()
        scheduler = module.CosineAnnealingWarmRestarts(one.optimizer, 5)
        lrs = []
        for i in range(60):
            scheduler.step(i / 7)
            lrs.append(one.lr)
        both.append(lrs)
    np.testing.assert_allclose(both[1], both[0], rtol=1e-9)


@pytest.mark.parametrize(
    "case", ["cosine", "linear", "triangular2", "one cycle", "longer restarts", "multi step"]
)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_a_state_of_torchs_scheduler_is_taken_over(case, run):
    name, options = CASES[case]
    one = run()
    before = getattr(theirs, name)(one.optimizer, **options)
    one.follow(before, 37)
    other = run()
    after = getattr(ours, name)(other.optimizer, **options)
    other.optimizer.load_state_dict(one.optimizer.state_dict())
    after.load_state_dict(before.state_dict())
    np.testing.assert_allclose(other.follow(after, 50), one.follow(before, 50), rtol=1e-9)


def test_a_state_of_torchs_plateau_is_taken_over(run):
    rng = np.random.default_rng(0)
    one, other = run(), run()
    before = theirs.ReduceLROnPlateau(one.optimizer, patience=4, cooldown=3, factor=0.5)
    after = ours.ReduceLROnPlateau(other.optimizer, patience=4, cooldown=3, factor=0.5)
    for value in rng.normal(size=23):
        before.step(value)
    after.load_state_dict(before.state_dict())
    for value in rng.normal(size=60):
        before.step(value)
        after.step(value)
        assert other.lr == pytest.approx(one.lr, rel=1e-12)
    assert one.lr < 0.01

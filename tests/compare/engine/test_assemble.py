import sys
from types import ModuleType

import pytest
import torch

from accelerando.compare.assemble import Unavailable, build, find, notes, packages, probe
from accelerando.compare.strategy import parse
from accelerando.errors import SpecError


class Distanced(torch.optim.SGD):
    """Has a distance estimate and a multiplier, as Prodigy does."""

    def __init__(self, params, lr=1.0, d0=1e-6):
        super().__init__(params, lr=lr * d0)


class AnyKeyword(torch.optim.SGD):
    def __init__(self, params, **options):
        super().__init__(params, **options)


class Budgeted(torch.optim.SGD):
    """Needs to know how many updates it will make, as warm-up and decay of its own do."""

    def __init__(self, params, lr=1e-3, *, total_steps):
        super().__init__(params, lr=lr)
        self.total_steps = total_steps


@pytest.fixture(autouse=True)
def foreign(monkeypatch):
    module = ModuleType("foreign_library")
    module.Distanced, module.AnyKeyword, module.number = Distanced, AnyKeyword, 3
    module.Budgeted = Budgeted
    monkeypatch.setitem(sys.modules, "foreign_library", module)


@pytest.mark.parametrize(
    ("text", "rate_name"),
    [
        ("sgd", "lr"),
        ("torch.optim:Adam", "lr"),
        ("torch.optim:Adam(lr=0.01)", ""),
        ("foreign_library:Distanced", "d0"),
        ("foreign_library:Distanced(lr=1)", "d0"),
        ("foreign_library:Distanced(d0=1e-5)", "lr"),
        ("foreign_library:Distanced(d0=1e-5, lr=1)", ""),
        ("foreign_library:AnyKeyword", "lr"),
        ("foreign_library:Budgeted", "lr"),
        ("foreign_library:Budgeted(total_steps=70)", "lr"),
    ],
)
def test_the_grid_sets_what_the_method_calls_its_rate(text, rate_name):
    assert find(parse(text)).rate_name == rate_name


@pytest.mark.parametrize(
    ("text", "told"), [("foreign_library:Budgeted", 250), ("foreign_library:Budgeted(total_steps=70)", 70)]
)
def test_an_optimizer_that_asks_for_the_budget_is_told_the_trials(text, told):
    strategy = parse(text)
    method = find(strategy)
    probe(strategy, method)
    optimizer, _ = build(strategy, method, [torch.nn.Parameter(torch.ones(2))], 0.1, 250)
    assert optimizer.total_steps == told
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert ("total_steps" in notes(strategy, method)) == (told == 250)


def test_nobody_else_is_told_the_budget():
    for text in ("sgd", "foreign_library:AnyKeyword"):
        assert not find(parse(text)).budgeted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no_such_library:Adam", "no_such_library is not installed"),
        ("torch.optim:LAMB", "torch.optim has no LAMB"),
        ("foreign_library:number", "not a class"),
        ("torch.optim:SGD(momentom=0.9)", "cannot be constructed.*momentom"),
        ("torch.optim:LBFGS", "several times per update"),
        ("sgd+cosine(T_min=3)", "cannot be constructed.*T_min"),
    ],
)
def test_what_cannot_run_here_says_why(text, reason):
    strategy = parse(text)
    with pytest.raises(Unavailable, match=reason):
        probe(strategy, find(strategy))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("adamm", "did you mean 'adam'"),
        ("adam+cosinus", "no schedule is called 'cosinus'"),
        ("zzz", "There are"),
    ],
)
def test_a_misspelt_name_is_the_users_error(text, complaint):
    with pytest.raises(SpecError, match=complaint):
        find(parse(text))


def rates_of(text, rate, steps):
    """The learning rate that each of ``steps`` updates uses, the loss staying put."""
    strategy, parameter = parse(text), torch.nn.Parameter(torch.ones(2))
    optimizer, steppers = build(strategy, find(strategy), [parameter], rate, steps)
    seen = []
    for _ in range(steps):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        parameter.grad = torch.zeros(2)
        optimizer.step()
        for stepper in steppers:
            stepper(torch.tensor(1.0))
    return seen


def test_cosine_spends_the_budget():
    seen = rates_of("sgd+cosine", 0.1, 200)
    assert seen[0] == pytest.approx(0.1)
    assert seen[100] == pytest.approx(0.05)
    assert 0 < seen[-1] < 1e-4


def test_cyclic_runs_between_a_hundredth_and_the_rate():
    seen = rates_of("sgd+cyclic", 0.1, 400)
    assert max(seen) == pytest.approx(0.1)
    assert min(seen) == pytest.approx(0.001)
    assert seen[50] == pytest.approx(0.1)
    assert sum(rate == pytest.approx(0.1) for rate in seen) == 4


def test_plateau_falls_when_the_loss_stays_put():
    seen = rates_of("sgd+plateau", 0.1, 400)
    assert seen[0] == 0.1
    assert seen[45] == pytest.approx(0.1)
    assert seen[55] == pytest.approx(0.01)


def test_packages_names_the_distribution():
    assert packages("torch.optim:SGD") == ()
    assert packages("rich.console:Console")[0][0] == "rich"

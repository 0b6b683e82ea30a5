import shlex

import pytest
from click.testing import CliRunner

from accelerando.cli.compare import command
from accelerando.compare import spec as specs
from accelerando.compare.resolve import resolve
from accelerando.errors import SpecError


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("1e-3", (1e-3,)),
        ("0.1,1e-3", (1e-3, 0.1)),
        ("1e-5..1e-1", (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
        ("0.01..1/5", (0.01, 0.0316227766, 0.1, 0.316227766, 1.0)),
    ],
)
def test_grid(text, rates):
    assert specs.grid(text) == pytest.approx(rates, rel=1e-9)


@pytest.mark.parametrize(
    "text", ["", "a", "1e-3,,", "1e-1..1e-3", "0..1", "1e-3..1e-1/1", "-1", "nan", "inf", "1,1"]
)
def test_grid_refuses(text):
    with pytest.raises(SpecError, match="rates"):
        specs.grid(text)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"strategies": ()}, "at least one"),
        ({"strategies": ("adam", " adam")}, "named twice"),
        ({"strategies": ("adam",), "baseline": "sgd"}, "none of the strategies"),
        ({"fresh_seeds": 0}, "fresh_seeds must be"),
        ({"steps": -1}, "steps must be"),
        ({"steps": True}, "steps must be"),
        ({"tune_seeds": 5000}, "tune_seeds must be at most"),
        ({"executor": "dask"}, "executor must be one of"),
        ({"rates": (1e-3, 1e-3)}, "must differ"),
    ],
)
def test_refuses_what_cannot_be_meant(settings, complaint):
    with pytest.raises(SpecError, match=complaint):
        specs.made(settings)


def test_toml(tmp_path, bowl):
    path = tmp_path / "experiment.toml"
    path.write_text(
        'task = "bowl.py"\nstrategies = ["sgd", "sgd+cosine"]\nrates = "1e-3..1e-1"\nfresh_seeds = 4\n'
    )
    spec = specs.made(specs.from_toml(path))
    assert spec.task == str(bowl)
    assert (spec.rates, spec.fresh_seeds, len(spec.strategies)) == ((1e-3, 1e-2, 1e-1), 4, 2)
    path.write_text("sedes = 3")
    with pytest.raises(SpecError, match=r"unknown key 'sedes'.*fresh_seeds"):
        specs.from_toml(path)
    path.write_text("seeds = ")
    with pytest.raises(SpecError, match="write TOML"):
        specs.from_toml(path)
    with pytest.raises(SpecError, match="cannot be read"):
        specs.from_toml(tmp_path / "none.toml")


def test_the_command_asks_for_the_same_again(bowl):
    spec = specs.made(
        {
            "task": str(bowl),
            "strategies": ("sgd", "adamw(eps=1e-6)+cosine"),
            "rates": (1e-3, 0.5),
            "fresh_seeds": 4,
        }
        | {"steps": 7, "baseline": "sgd", "tune_seeds": 2, "evals": 5}
    )
    words = shlex.split(specs.command(spec))[2:]
    asked = command.make_context("compare", words).params
    assert asked["task"] == spec.task
    assert asked["strategies"] == spec.strategies
    assert specs.grid(asked["rates"]) == spec.rates
    for name in ("fresh_seeds", "steps", "baseline", "tune_seeds", "evals"):
        assert asked[name] == getattr(spec, name)


def test_an_experiment_says_what_runs_and_why_the_rest_does_not(bowl):
    spec = specs.made(
        {"task": str(bowl), "strategies": ("torch.optim:Nothing", "sgd+cyclic"), "device": "cpu"}
    )
    found = specs.experiment(spec, resolve(str(bowl)))
    missing, cyclic = found.strategies
    assert missing["not_run"] == "torch.optim has no Nothing"
    assert (cyclic["not_run"], cyclic["rate_name"]) == ("", "max_lr")
    assert "rate/100" in cyclic["note"]
    assert found.baseline == "sgd+cyclic"
    assert found.steps == 40
    assert not set(found.tune_seeds) & set(found.fresh_seeds)


def test_nothing_to_run_is_an_error(bowl):
    spec = specs.made({"task": str(bowl), "strategies": ("torch.optim:Nothing",)})
    with pytest.raises(SpecError, match=r"none of the strategies can run here.*has no Nothing"):
        specs.experiment(spec, resolve(str(bowl)))


def test_a_missing_device_is_an_error(bowl):
    spec = specs.made({"task": str(bowl), "strategies": ("sgd",), "device": "nonsense"})
    with pytest.raises(SpecError, match="device 'nonsense' cannot be used here"):
        specs.experiment(spec, resolve(str(bowl)))


def test_bad_words_on_the_command_line_end_with_a_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["-s", "adamm"], ["--lrs", "x"], ["nothing"], ["no.py:task"], ["-s", "sgd", "-s", "sgd"]):
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 1, result.output
        assert "Error: " in result.output
        assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())

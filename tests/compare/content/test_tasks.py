"""Every bundled task: real, repeatable, intact, and learnable by plain torch."""

import hashlib
from itertools import islice
from pathlib import Path

import pytest
import torch

from accelerando.compare.tasks import fingerprint, frozen, load, names
from accelerando.errors import TaskError

# The loss of a predictor that looks at no input; the plain AdamW rate that must come below that factor of it.
TRIVIAL = {
    "digits": (2.30, 1e-2, 0.1),  # ln 10
    "digits-autoencoder": (0.073, 3e-3, 0.4),  # the variance of the pixels
    "mnist1d": (2.30, 1e-2, 0.3),
    "text": (3.26, 3e-3, 0.8),  # the entropy of the characters; pairs of characters reach about 0.75 of it
    "diabetes": (0.768, 1e-3, 0.75),  # the variance of the held-out targets in training units
    "breast-cancer": (0.66, 1e-2, 0.1),
    "quadratic": (0.05, 1e-2, 1e-4),
    "noisy-quadratic": (0.19, 1e-3, 0.01),
}

MOST = 1000  # updates suffice for that, whatever a task's budget


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(task, seed, steps, lr):
    torch.manual_seed(seed)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for batch in islice(task.batches(seed), steps):
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
    return model


def trivial_loss(name):
    """The loss of the best constant prediction, from the held-out data alone."""
    if name == "text":
        from accelerando.compare.tasks.text import encoded

        tokens, letters = encoded()
        share = torch.bincount(tokens, minlength=letters) / len(tokens)
        return float(-(share * share.log()).sum())
    if "quadratic" in name:
        torch.manual_seed(0)
        return load(name).evaluate(load(name).model())["loss"]
    held_out = load(name).evaluate
    if held_out.targets.is_floating_point():
        return float((held_out.targets - held_out.targets.mean(0)).square().mean())
    share = torch.bincount(held_out.targets) / len(held_out.targets)
    return float(-(share * share.log()).sum())


@pytest.mark.parametrize("name", names())
def test_plain_adamw_beats_the_trivial_predictor(name):
    task = load(name)
    written, lr, factor = TRIVIAL[name]
    baseline = trivial_loss(name)
    assert baseline == pytest.approx(written, rel=0.2)
    result = task.evaluate(trained(task, seed=0, steps=min(task.steps, MOST), lr=lr))
    assert result["loss"] < factor * baseline
    assert task.metric in result


@pytest.mark.parametrize("name", names())
def test_a_seed_fixes_weights_batches_and_result(name):
    runs = [trained(load(name), seed=3, steps=5, lr=1e-3).state_dict() for _ in range(2)]
    for key, value in runs[0].items():
        assert torch.equal(value, runs[1][key]), key
    first, again, other = (list(islice(load(name).batches(seed), 3)) for seed in (3, 3, 4))
    assert all(
        torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True)
    )
    same = all(
        torch.equal(a, b) for x, y in zip(first, other, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert same == (name == "quadratic")  # the one without noise has no data to shuffle


@pytest.mark.parametrize("name", names())
def test_evaluation_leaves_mode_weights_and_gradients_alone(name):
    task = load(name)
    model = trained(task, seed=0, steps=2, lr=1e-3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    first, again = task.evaluate(model), task.evaluate(model)
    assert first == again
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_train_and_held_out_examples_are_disjoint():
    for file in ("digits.npz", "mnist1d.npz", "diabetes.npz", "breast_cancer.npz"):
        data = frozen.arrays(file)
        rows = {part: {row.numpy().tobytes() for row in data[f"{part}_x"]} for part in ("train", "test")}
        assert len(rows["train"]) == len(data["train_x"]), "no example twice"
        assert not rows["train"] & rows["test"]


def test_a_pass_uses_no_example_twice():
    task = load("digits")
    count = 1200 // 32
    batches = list(islice(task.batches(0), count))
    rows = {row.numpy().tobytes() for batch in batches for row in batch[0]}
    assert len(rows) == count * 32


def test_the_shipped_data_is_what_was_frozen():
    lines = (frozen.FOLDER / "SHA256SUMS").read_text().splitlines()
    shipped = {path.name for path in frozen.FOLDER.iterdir() if path.suffix in {".npz", ".txt"}}
    assert {line[66:] for line in lines} == shipped
    for line in lines:
        assert hashlib.sha256((frozen.FOLDER / line[66:]).read_bytes()).hexdigest() == line[:64]
    assert sum(path.stat().st_size for path in frozen.FOLDER.iterdir()) < 3_000_000


def test_every_shipped_file_is_credited():
    notice = Path(__file__).parents[3].joinpath("NOTICE").read_text(encoding="utf-8")
    for path in frozen.FOLDER.iterdir():
        assert path.name in notice, path.name


def test_changed_data_is_refused(tmp_path: Path):
    for path in frozen.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "digits.npz").write_bytes((tmp_path / "digits.npz").read_bytes() + b"x")
    with pytest.raises(TaskError, match=r"digits\.npz has sha256 .* expected .* reinstall"):
        frozen.arrays("digits.npz", tmp_path)
    (tmp_path / "diabetes.npz").unlink()
    with pytest.raises(TaskError, match=r"diabetes\.npz is missing"):
        frozen.arrays("diabetes.npz", tmp_path)


def test_fingerprints_differ_between_tasks_and_repeat():
    marks = [fingerprint(load(name)) for name in names()]
    assert len(set(marks)) == len(names())
    assert marks == [fingerprint(load(name)) for name in names()]


@pytest.mark.parametrize("name", names())
def test_a_chinese_report_says_the_task_in_chinese(name):
    from accelerando.compare.report.words import Words

    task = load(name)
    for text in (task.title, task.description):
        assert Words("en").task(text) == text
        assert any("\u4e00" <= sign <= "\u9fff" for sign in Words("zh").task(text)), text
    assert Words("zh").task("a user's own") == "a user's own"


def test_an_unknown_name_lists_the_known():
    with pytest.raises(TaskError, match=r"no bundled task 'digit'.*digits, digits-autoencoder"):
        load("digit")


def test_the_optimum_of_the_quadratics_is_zero():
    for name in ("quadratic", "noisy-quadratic"):
        model = load(name).model()
        with torch.no_grad():
            model.x.zero_()
        assert load(name).evaluate(model) == {"loss": 0.0, "distance": 0.0}
        assert torch.allclose(model.basis @ model.basis.T, torch.eye(50), atol=1e-6)

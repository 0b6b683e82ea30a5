import json
import re

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import accelerando as accelerando_package
from accelerando.cli.group import accelerando
from accelerando.errors import HyperparameterError
from accelerando.lens import Lens, read
from accelerando.lens.codes import CODES
from accelerando.lens.movements import moved_by, moved_in


def recorded(path=None, sinks=(), name="<b>$w$</b>"):
    torch.manual_seed(0)
    model = nn.ModuleDict({name.replace(".", ""): nn.Linear(4, 3)})
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    warm = torch.optim.lr_scheduler.LinearLR(sgd, 0.01, 1.0, 20)
    with Lens(sgd, model=model, every=1, to=path, sinks=sinks) as lens:
        for _ in range(40):
            for p in model.parameters():
                p.grad = torch.randn_like(p)
            sgd.step()
            warm.step()
    return lens


def test_the_page_is_self_contained_and_escaped(tmp_path):
    html = recorded().report(tmp_path / "lens.html").read_text()
    assert "<script" not in html and "<b>$w$" not in html
    assert "&lt;b&gt;$w$&lt;/b&gt;.weight" in html
    assert html.count("<svg") == html.count("</svg>") == 4
    addresses = {a for a in re.findall(r'(?:href|src)="([^"]*)"', html) if not a.startswith(("#", "data:"))}
    assert not addresses and "@import" not in html
    ids = re.findall(r'\bid="(p[0-9a-f]{8,})"', html)
    assert len(ids) == len(set(ids))
    assert "around step" in html and "schedule" in html
    assert "<svg" in recorded()._repr_html_()


def test_a_lens_without_samples_still_reports(tmp_path):
    lens = Lens(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    lens.close()
    assert "Nothing was recorded" in lens.report(tmp_path / "empty.html").read_text()
    assert lens.rose() == lens.events() == lens.table() == []


def test_the_command_prints_draws_and_compares(tmp_path):
    for name in ("one", "two"):
        recorded(tmp_path / f"{name}.lens")
    run = CliRunner().invoke
    files = [str(tmp_path / "one.lens"), str(tmp_path / "two.lens")]
    alone = run(accelerando, ["lens", files[0], "--html", str(tmp_path / "x.html")])
    assert alone.exit_code == 0, alone.output
    assert "rose" in alone.output and "schedule" in alone.output and (tmp_path / "x.html").exists()
    both = run(accelerando, ["lens", *files, "--png", str(tmp_path / "png")])
    assert both.exit_code == 0, both.output
    assert "one" in both.output and "two" in both.output
    assert len(list((tmp_path / "png").glob("*.png"))) == 7
    facts = json.loads(run(accelerando, ["lens", files[0], "--json"]).output)
    assert facts[0]["samples"] == 40 and facts[0]["rises"][0]["cause"] == "schedule"
    missing = run(accelerando, ["lens", str(tmp_path / "none.lens")])
    assert missing.exit_code == 1 and "cannot be read" in missing.output


def test_every_code_is_explained():
    run = CliRunner().invoke
    for code in CODES:
        assert CODES[code].title in run(accelerando, ["explain", code.lower()]).output
    assert run(accelerando, ["explain", "LR999"]).exit_code == 1
    assert all(code in run(accelerando, ["explain"]).output for code in CODES)


def test_trackers_are_known_by_their_methods():
    class Board:
        def __init__(self):
            self.seen = []

        def add_scalar(self, tag, value, step):
            self.seen.append((step, tag, value))

    class Metrics(Board):
        add_scalar = property()

        def log_metrics(self, numbers, step):
            self.seen += [(step, k, v) for k, v in numbers.items()]

    class Run(Board):
        add_scalar = property()

        def log(self, numbers, step=None):
            self.seen += [(step, k, v) for k, v in numbers.items()]

    called = []
    trackers = [Board(), Metrics(), Run()]
    recorded(None, [*trackers, lambda numbers, step: called.extend((step, k, v) for k, v in numbers.items())])
    assert called and all(tracker.seen == called for tracker in trackers)
    assert (1, "lens/0/0/lr") in {(step, tag) for step, tag, _ in called}
    assert any(tag.endswith(".weight/effective") for _, tag, _ in called)
    with pytest.raises(HyperparameterError, match="sink"):
        recorded(None, [3])


def test_the_file_is_read_without_us(tmp_path):
    lens = recorded(tmp_path / "run.lens")
    wanted = len(lens.table())
    lines = [json.loads(line) for line in (tmp_path / "run.lens").read_text().splitlines()]
    assert sum(line["kind"] == "row" for line in lines) == wanted
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_json(tmp_path / "run.lens", lines=True)
    assert (frame.kind == "row").sum() == wanted
    duckdb = pytest.importorskip("duckdb")
    query = f"select count(*) from read_json_auto('{tmp_path / 'run.lens'}') where kind = 'row'"
    assert duckdb.sql(query).fetchall() == [(wanted,)]


def test_the_movements_of_accelerando_are_drawn_from_its_trace_and_from_a_file(tmp_path):
    p = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
    optimizer = accelerando_package.Accelerando([p], total_steps=60)
    with Lens(optimizer, every=5, to=tmp_path / "run.lens") as lens:
        for _ in range(60):
            p.grad = p.detach() - 1
            optimizer.step()
    told, read_back = moved_by(optimizer), moved_in(read(tmp_path / "run.lens"), 0)
    assert len(told) == 60 and 10 <= len(read_back) <= 12
    by_step = {m.step: m for m in told}
    for m in read_back[1:]:
        assert m.movement == by_step[m.step].movement
        assert m.rate == pytest.approx(by_step[m.step].rate, rel=1e-6)
    assert "by its movement" in lens.report(tmp_path / "x.html").read_text()
    plain = recorded()
    assert moved_in(plain.recording, 0) == [] and "by its movement" not in plain._repr_html_()

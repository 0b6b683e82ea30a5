"""Previews and descriptions: every rise is found, marked and said."""

import subprocess
import sys

import numpy as np
import pytest

from accelerando import schedules as s


def spans(preview):
    return [(rise.kind, rise.first, rise.last) for rise in preview.rises]


def test_warmup_then_cosine():
    preview = (s.warmup(500) >> s.cosine(2000, final=0.1)).preview(lr=1e-3)
    assert spans(preview) == [("rises", 0, 500)]
    assert preview.rises[0].ends == 1e-3
    text = str(preview)
    assert text.count("▲") == 1 and "steps 0 to 2750, 1 rise" in text
    assert "holds 0.0001 (past its end)" in text


def test_restarts_are_jumps():
    preview = s.cosine_restarts(100).preview(350)
    assert spans(preview) == [("jumps up", 99, 100), ("jumps up", 199, 200), ("jumps up", 299, 300)]


def test_cyclic_on_adamw(run):
    one = run(betas=(0.95, 0.999))
    scheduler = s.CyclicLR(one.optimizer, 1e-5, 1e-3, step_size_up=200, cycle_momentum=True)
    preview = scheduler.preview(1000)
    assert spans(preview) == [("rises", 0, 200), ("rises", 400, 600), ("rises", 800, 1000)]
    assert preview.rises[1].ends / preview.rises[1].begins == pytest.approx(100)
    described = scheduler.describe(1000)
    assert [finding.factor for finding in described.of("rise")] == pytest.approx([100] * 3)
    assert "momentum (beta1) runs from 0.9 down to 0.8" in str(described)
    (label,) = [line for line in str(preview).splitlines() if "momentum" in line]
    assert label


def test_cosine_past_its_end(run):
    one = run()
    scheduler = s.CosineAnnealingLR(one.optimizer, 100)
    assert scheduler.preview(300).rises == []
    (finding,) = scheduler.describe(300).of("end")
    assert (finding.first, finding.last) == (100, 300) and "nothing is learned any more" in finding.message
    assert scheduler.describe(100).findings == ()
    assert "nothing that could surprise" in str(scheduler.describe(100))


def test_a_preview_is_what_then_happens(run):
    one = run(lr=[0.1, 0.3])
    warm = s.ScheduledLR(one.optimizer, s.warmup(30))
    parts = [s.LinearLR(one.optimizer, 0.2, total_iters=20), s.CosineAnnealingLR(one.optimizer, 60)]
    after = s.SequentialLR(one.optimizer, parts, [20])
    promised = [curve.rates for curve in after.preview(90).curves]
    warm.detach()
    promised = [curve.rates for curve in after.preview(90).curves]
    happened = np.array(one.follow(after, 91))
    np.testing.assert_allclose(np.array(promised).T, happened, rtol=1e-12, atol=1e-16)
    assert after.lr_at(40) == pytest.approx(happened[40].tolist())


def test_groups_that_do_the_same_share_a_curve(run):
    one = run(lr=[0.1, 0.1, 0.2])
    assert len(s.ScheduledLR(one.optimizer, s.cosine(10)).preview().curves) == 2


def test_many_stretches_are_counted(run):
    text = s.cyclic(5).preview(1000).table()
    assert "… 176 more stretches, 88 of them rises …" in text and "100 rises" in text


def test_frozen_and_outside_are_said(run):
    one = run(lr=[0.1, 0.0])
    scheduler = s.CosineAnnealingLR(one.optimizer, 100)
    one.follow(scheduler, 5)
    one.optimizer.param_groups[0]["lr"] *= 0.5
    described = scheduler.describe()
    assert [finding.group for finding in described.of("frozen")] == [1]
    assert [finding.factor for finding in described.of("outside")] == pytest.approx([0.5])


def test_the_figure_marks_each_rise(tmp_path):
    preview = s.cyclic(50).preview(400)
    figure = preview.figure()
    (axes,) = figure.axes
    marks = [text.get_text() for text in axes.texts]
    assert marks == ["▲×10"] * 4
    assert len(axes.patches) == 4 and axes.get_title(loc="right") == "4 rises, marked red"
    assert preview.save(tmp_path / "cycle.png").stat().st_size > 5000
    (flat,) = s.cosine(100).preview().figure().axes
    assert flat.get_title(loc="right") == "never rises" and [t.get_text() for t in flat.texts] == ["ends"]


def test_matplotlib_is_imported_only_to_draw():
    code = (
        "import sys, accelerando.schedules as s; str(s.cosine(10).preview()); "
        "sys.exit('matplotlib' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The report: complete, offline, escaped, repeatable, in two languages."""

import json
import math
import random
import re
import string
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest

from accelerando.compare import report
from accelerando.compare.records import Outcome
from accelerando.compare.report import numbers, verdict
from accelerando.compare.report.digest import digest
from accelerando.compare.report.folk import claims
from accelerando.compare.report.words import TABLES, Words

HOSTILE = "<script>alert('x')</script>\"&{evil}$^_|`*"


class Page(HTMLParser):
    """Collects what a page holds and checks that every element is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in {"meta", "wbr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def written(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report.write(*comparison, folder)
    return folder


@pytest.fixture(scope="module")
def page(written):
    return Page((written / "report.html").read_text(encoding="utf-8"))


def test_everything_promised_is_written(comparison, tmp_path):
    paths = report.write(*comparison, tmp_path / "deep" / "folder")
    names = {path.name for path in paths}
    assert names == {
        "report.html",
        "report.md",
        "timing.json",
        "robustness.png",
        "curves.png",
        "rates.png",
    }
    assert all(path.stat().st_size > 1000 for path in paths)
    assert (tmp_path / "deep/folder/curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_page_calls_no_one(written, page):
    text = (written / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text, re.IGNORECASE)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for tag, key, value in page.attributes:
        assert not key.startswith("on"), (tag, key)
        if key in {"href", "src", "xlink:href"}:
            assert value.startswith("#"), (tag, key, value)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_ids_are_unique_and_every_reference_has_one(written, page):
    assert len(page.ids) == len(set(page.ids))
    text = (written / "report.html").read_text(encoding="utf-8")
    wanted = set(re.findall(r"url\(#([^)]+)\)", text))
    wanted |= {value[1:] for _, key, value in page.attributes if key == "href"}
    assert wanted and wanted <= set(page.ids)


def test_what_panels_share_is_on_the_page_once(page):
    for key in ("robustness", "curves", "rates"):
        assert page.ids.count(f"{key}-frame") == 1
        used = [value for tag, name, value in page.attributes if (tag, name) == ("use", "href")]
        assert used.count(f"#{key}-frame") == 6 - 1


def test_every_strategy_every_section_and_the_command_are_there(comparison, page):
    experiment, _ = comparison
    text = "".join(page.text)
    assert all(strategy["name"] in text for strategy in experiment.strategies)
    assert "no optimizer is called 'lamb' here" in text
    assert "RuntimeError: mat1 and mat2 cannot be multiplied" in text and "train.py:12" in text
    assert experiment.command in text and experiment.task["hash"] in text
    sections = {"results", "folk", "robustness", "curves", "rates", "time", "errors", "ran"}
    assert sections <= set(page.ids)
    drawings = [value for tag, key, value in page.attributes if key == "aria-label"]
    assert len(drawings) == 3 * 6 and all(drawings)


def test_hostile_text_is_shown_and_never_run(comparison, tmp_path):
    experiment, outcomes = comparison
    names = {"adam": HOSTILE, "lamb": HOSTILE + "2", "adabelief": HOSTILE + "3"}
    bad = replace(
        experiment,
        strategies=tuple(
            {
                **s,
                "name": names.get(s["name"], s["name"]),
                "note": HOSTILE,
                "not_run": s["not_run"] and HOSTILE,
            }
            for s in experiment.strategies
        ),
        task={
            **experiment.task,
            "name": HOSTILE,
            "title": HOSTILE,
            "description": HOSTILE,
            "metric": "accuracy",
        },
        baseline=HOSTILE,
        chosen={names.get(name, name): rate for name, rate in experiment.chosen.items()},
        command=HOSTILE,
        device=HOSTILE,
    )
    moved = [
        replace(
            o,
            trial=replace(o.trial, strategy=names.get(o.trial.strategy, o.trial.strategy)),
            message=o.message and HOSTILE,
            place=o.place and HOSTILE,
            traceback=HOSTILE,
        )
        for o in outcomes
    ]
    for lang in ("en", "zh"):
        report.write(bad, moved, tmp_path, lang)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        made = Page(text)
        assert "script" not in made.tags and "<script" not in text
        assert HOSTILE in "".join(made.text)
        told = (tmp_path / "report.md").read_text(encoding="utf-8").replace(f"    {HOSTILE}", "")
        assert "script" in told and not re.search(r"(?<!\\)[<>]", told)
        assert "script" in _shown(report.terminal(bad, moved, lang, tmp_path))


def test_markdown_is_the_same_for_the_same_results_in_any_order(comparison, tmp_path):
    experiment, outcomes = comparison
    report.write(experiment, outcomes, tmp_path / "one")
    shuffled = [replace(o, seconds=o.seconds * random.random()) for o in outcomes]
    random.Random(1).shuffle(shuffled)
    report.write(experiment, shuffled, tmp_path / "two")
    for name in ("report.md", "curves.png", "rates.png", "robustness.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    text = (tmp_path / "one/report.md").read_text(encoding="utf-8")
    assert " ms" not in text and "µs" not in text
    report.write(experiment, outcomes, tmp_path / "three")
    assert (tmp_path / "one/report.html").read_bytes() == (tmp_path / "three/report.html").read_bytes()


def test_timings_are_apart_and_readable(comparison, written):
    _, outcomes = comparison
    timing = json.loads((written / "timing.json").read_text())
    assert timing["trials"] == {o.trial.id: o.seconds for o in outcomes if o.status != "not run"}
    assert timing["strategies"]["adam"]["seconds_per_step"] == pytest.approx(1e-3)


def test_both_languages_have_the_same_messages_and_places():
    english, chinese = TABLES["en"], TABLES["zh"]
    assert english.keys() == chinese.keys()
    for key, message in english.items():
        assert _places(message) == _places(chinese[key]), key
        assert message.strip() or key.startswith("strip."), key


def test_chinese_page_is_chinese(comparison, tmp_path):
    report.write(*comparison, tmp_path, "zh")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in text
    for heading in ("新种子上的结果", "损失与学习率", "它提高学习率了吗？", "出了什么问题"):
        assert f"<h2>{heading}</h2>" in text


def test_every_message_is_used():
    from importlib.resources import files

    source = "".join(
        path.read_text(encoding="utf-8")
        for path in files("accelerando.compare.report").iterdir()
        if path.name.endswith(".py")
    )
    literal = set(re.findall(r'"([a-z][\w. ]*)"', source)) | set(re.findall(r"'([a-z][\w. ]*)'", source))
    built = [re.sub(r"\\{.*?\\}", ".+", re.escape(text)) for text in re.findall(r'f"([\w.{}]+)"', source)]
    patterns = [re.compile(pattern) for pattern in built if "\\." in pattern]
    for key in TABLES["en"]:
        assert key in literal or any(pattern.fullmatch(key) for pattern in patterns), key


def test_rows_say_what_the_records_say(comparison):
    experiment, outcomes = comparison
    made = digest(experiment, outcomes)
    adam = made.row("adam")
    losses = [
        o.final["loss"]
        for o in outcomes
        if o.trial.strategy == "adam" and o.trial.phase == "fresh" and o.status == "done"
    ]
    assert sorted(adam.losses.values()) == sorted(losses) and len(losses) == 10
    assert adam.summary.centre == pytest.approx(math.exp(sum(map(math.log, losses)) / 10))
    assert adam.versus is None and made.row("sgd").versus.n == 10
    assert made.row("adabelief") is None and made.row("lamb") is None
    assert made.ranked[0].summary.centre == min(row.summary.centre for row in made.ranked)
    assert made.row("adam+cosine").nominal.last < 0.05
    assert made.row("adam+cyclic").nominal.rise == pytest.approx(10, rel=0.5)
    assert made.row("adam").nominal.rise == 1.0


def test_a_fresh_trial_at_another_rate_is_not_counted(comparison):
    experiment, outcomes = comparison
    stray = next(o for o in outcomes if o.trial.phase == "fresh" and o.trial.strategy == "adam")
    stray = replace(stray, trial=replace(stray.trial, rate=0.123), final={"loss": 1e9})
    assert (
        digest(experiment, [*outcomes, stray]).row("adam").losses
        == digest(experiment, outcomes).row("adam").losses
    )


def test_divergence_is_shown_and_counts_as_worst(comparison, tmp_path):
    experiment, outcomes = comparison
    hurt = [_diverged(o) if o.trial.strategy == "radam" and o.trial.phase == "fresh" else o for o in outcomes]
    made = digest(experiment, hurt)
    radam = next(row for row in made.rows if row.name == "radam")
    assert radam.summary.diverged == 10 and radam.versus.verdict == "worse"
    assert made.ranked[-1] is radam
    report.write(experiment, hurt, tmp_path)
    assert "10 of 10 seeds diverged" in (tmp_path / "report.md").read_text()
    Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_degenerate_experiments_still_make_a_report(comparison, tmp_path, lang):
    experiment, outcomes = comparison
    alone = replace(experiment, strategies=experiment.strategies[:1])
    nothing = [o for o in outcomes if o.trial.phase == "nowhere"]
    tuned = [o for o in outcomes if o.trial.phase == "tune"]
    few = [o for o in outcomes if o.trial.phase == "tune" or o.trial.seed < 103]
    bare = [replace(o, rates=(), rise=None, losses=(), evals=o.evals[-1:]) for o in outcomes]
    broken = [_diverged(o) for o in outcomes]
    for index, (asked, given) in enumerate(
        [
            (alone, outcomes),
            (experiment, nothing),
            (experiment, tuned),
            (experiment, few),
            (experiment, bare),
            (experiment, broken),
        ]
    ):
        folder = tmp_path / str(index)
        report.write(asked, given, folder, lang)
        Page((folder / "report.html").read_text(encoding="utf-8"))
        assert _shown(report.terminal(asked, given, lang))


def test_headlines(comparison):
    experiment, outcomes = comparison
    say = Words("en")
    few = [o for o in outcomes if o.trial.phase == "tune" or o.trial.seed < 103]
    assert "3 fresh seeds cannot show a difference" in verdict.headline(digest(experiment, few), say)
    best = digest(experiment, outcomes).ranked[0].name
    against_best = replace(experiment, baseline=best)
    assert f"Nothing beat the baseline {best}" in verdict.headline(digest(against_best, outcomes), say)
    gone = replace(experiment, baseline="lamb")
    assert "the baseline lamb has no result" in verdict.headline(digest(gone, outcomes), say)
    assert "Nothing finished" in verdict.headline(digest(experiment, []), say)
    against_sgd = digest(replace(experiment, baseline="sgd"), outcomes)
    assert re.search(r"\d+\N{NO-BREAK SPACE}% below the baseline sgd", verdict.headline(against_sgd, say))


def test_claims_are_measured_or_say_why_not(comparison):
    experiment, outcomes = comparison
    made = {claim.key: claim for claim in claims(digest(experiment, outcomes))}
    assert len(made) == 10
    assert made["folk.decay"].measured[1]["ours"] == "adamw+cosine"
    assert made["folk.decay"].measured[1]["n"] == 10
    for key, missing in (("robust", "adabelief"), ("agreement", "lamb"), ("plateau", "adam+plateau")):
        assert made[f"folk.{key}"].standing == "not tested"
        assert missing in made[f"folk.{key}"].measured[1]["names"]
    assert made["folk.large_batch"].standing == "not tested"
    say = Words("en")
    assert all(say.fill(*claim.measured) for claim in made.values())


def test_a_claim_follows_the_records(comparison):
    experiment, outcomes = comparison

    def standing(rise):
        told = [
            replace(o, rise=rise(o.trial.seed))
            if o.trial.strategy == "adam" and o.trial.phase == "fresh"
            else o
            for o in outcomes
        ]
        return next(c for c in claims(digest(experiment, told)) if c.key == "folk.never_raises").standing

    assert standing(lambda seed: None) == "held"
    assert standing(lambda seed: (5, 3.0)) == "did not hold"
    assert standing(lambda seed: (5, 3.0) if seed == 100 else None) == "not shown"


def test_terminal_has_a_row_per_strategy_and_the_folder(comparison, tmp_path):
    experiment, outcomes = comparison
    text = _shown(report.terminal(experiment, outcomes, "en", tmp_path))
    assert all(strategy["name"] in text for strategy in experiment.strategies)
    assert "baseline" in text and "accuracy" in text and str(tmp_path) in text.replace("\n", "")
    assert "fresh seeds" in text
    narrow = _shown(report.terminal(experiment, outcomes, "en", tmp_path), width=70)
    assert all(strategy["name"] in narrow for strategy in experiment.strategies)
    assert "…" not in re.sub(r"\d … \d", "", narrow), "nothing is cut off"


def test_the_advice_knows_the_same_method_of_another_library(comparison):
    experiment, outcomes = comparison
    foreign = {"adam": "torch.optim:Adam", "adam+cosine": "torch.optim:Adam+cosine"}
    about = tuple(
        {
            **s,
            "name": foreign.get(s["name"], s["name"]),
            "optimizer": foreign.get(s["name"], s["optimizer"]).split("+")[0],
        }
        for s in experiment.strategies
    )
    asked = replace(
        experiment,
        strategies=about,
        chosen={foreign.get(name, name): rate for name, rate in experiment.chosen.items()},
    )
    moved = [
        replace(o, trial=replace(o.trial, strategy=foreign.get(o.trial.strategy, o.trial.strategy)))
        for o in outcomes
    ]
    made = {claim.key: claim for claim in claims(digest(asked, moved))}
    assert made["folk.cosine"].measured[1]["ours"] == "torch.optim:Adam+cosine"
    assert made["folk.default"].measured[1]["name"] == "torch.optim:Adam"
    decayed = replace(asked, strategies=tuple({**s, "options": {"eps": 1.0}} for s in about))
    unnamed = {claim.key: claim for claim in claims(digest(decayed, moved))}
    assert unnamed["folk.cosine"].standing == "not tested"


@pytest.mark.parametrize(
    ("value", "text"), [(1e-3, "1e-3"), (0.0316, "3.2e-2"), (1.0, "1e0"), (None, "–"), (30.0, "3e1")]
)
def test_rates_are_written_shortly(value, text):
    assert numbers.rate(value) == text


def _diverged(outcome: Outcome) -> Outcome:
    if outcome.status == "error":
        return outcome
    return replace(outcome, status="diverged", final={"loss": math.nan}, rise=None)


def _places(message):
    return sorted(name for _, name, _, _ in string.Formatter().parse(message) if name)


def _shown(renderable, width=200):
    from rich.console import Console

    console = Console(width=width, file=StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_titles_of_pictures_are_chinese_where_a_font_is(comparison, tmp_path, monkeypatch):
    from accelerando.compare.report import figures

    report.write(*comparison, tmp_path / "en")
    for font, differ in (("", False), (figures.chinese(), bool(figures.chinese()))):
        monkeypatch.setattr(figures, "chinese", lambda font=font: font)
        assert report.titled("en") and report.titled("zh") is bool(font)
        report.write(*comparison, tmp_path / "zh", "zh")
        for name in ("curves.png", "rates.png", "robustness.png"):
            made, english = ((tmp_path / lang / name).read_bytes() for lang in ("zh", "en"))
            assert (made != english) is differ


def test_a_font_that_matplotlib_has_not_noticed_is_found(monkeypatch):
    from matplotlib import font_manager

    from accelerando.compare.report import figures

    class Fonts:
        def __init__(self):
            self.ttflist = []

        def addfont(self, path):
            if "broken" in path:
                raise RuntimeError("cannot be read")
            self.ttflist.append(type("Font", (), {"name": "WenQuanYi Zen Hei"}))

    for paths, found in (
        (["/a/wqy-zenhei.ttc", "/a/broken-cjk.ttc"], "WenQuanYi Zen Hei"),
        (["/a/Latin.ttf"], ""),
    ):
        monkeypatch.setattr(font_manager, "fontManager", Fonts())
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda paths=paths: paths)
        assert figures.chinese.__wrapped__() == found

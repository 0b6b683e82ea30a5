"""Does the battery see what it says it sees, and nothing else?"""

import io
import json
import random

import pytest
import torch

from accelerando.testing import CHECKS, Status, check_optimizer
from accelerando.testing.papers import PAPERS

from .broken import BROKEN, Sound


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_sound_optimizer_passes_everything():
    report = check_optimizer(Sound, paper="adam")
    assert report.ok, str(report)
    assert all(f.status is Status.PASSED for f in report), str(report)
    assert all(not f.warnings for f in report)


@pytest.mark.parametrize(("code", "cls"), BROKEN, ids=lambda x: getattr(x, "__name__", x))
def test_each_check_fails_on_what_is_broken_for_it(code, cls):
    finding = check_optimizer(cls, paper="adam", checks=[code])[code]
    assert finding.status is Status.FAILED
    assert finding.sentence


def test_no_check_is_without_something_broken_for_it():
    assert {code for code, _ in BROKEN} == set(CHECKS)


def test_torch_adamw_fails_where_it_is_known_to_and_nowhere_else():
    assert [f.code for f in check_optimizer(torch.optim.AdamW).failures] == ["C25", "C34"]


def test_torch_radam_is_named_as_the_variant_it_is():
    finding = check_optimizer(torch.optim.RAdam, checks=["P01"])["P01"]
    assert finding.status is Status.FAILED
    assert finding.evidence["first_step"] == 5
    assert finding.evidence["variant"] == ["rectified one step later, when ρ > 5"]


def test_what_cannot_be_driven_is_one_finding():
    class Impossible(torch.optim.Optimizer):
        def __init__(self, model, *, depth):
            raise AssertionError

    report = check_optimizer(Impossible)
    assert [f.code for f in report.failures] == ["C01"]
    assert "missing 1 required keyword-only argument" in report["C01"].sentence


def test_one_that_needs_a_closure_is_given_one():
    report = check_optimizer(torch.optim.LBFGS, checks=["C01", "C02", "C32"])
    assert report["C32"].status is Status.INAPPLICABLE
    assert report["C02"].status is Status.PASSED or "LBFGS" in report["C02"].sentence


def test_an_error_in_a_check_is_a_finding_of_that_check_alone():
    class Explodes(Sound):
        def state_dict(self):
            raise OSError("no room")

    report = check_optimizer(Explodes, checks=["C19", "C21", "C28"])
    assert report["C21"].sentence == "raises OSError: no room"
    assert report["C28"].status is Status.PASSED


def test_warnings_are_kept_and_nothing_leaks(capsys):
    class Warns(Sound):
        def rate(self, group):
            import warnings

            warnings.warn("take care", stacklevel=1)
            print("noise")
            torch.rand(1)
            random.random()
            return group["lr"]

    before = torch.get_rng_state()
    report = check_optimizer(Warns, checks=["C28"])
    assert report["C28"].warnings == ("UserWarning: take care",)
    assert capsys.readouterr().out == ""
    assert torch.equal(before, torch.get_rng_state())


def test_options_are_given_to_every_construction():
    report = check_optimizer(Sound, checks=["P01", "P02"], paper="adam", betas=(0.5, 0.9), weight_decay=0.1)
    assert report["P01"].status is Status.PASSED
    assert report["P02"].status is Status.INAPPLICABLE
    assert report.options == {"betas": (0.5, 0.9), "weight_decay": 0.1}


def test_a_factory_and_a_paper_of_ones_own():
    report = check_optimizer(lambda params: Sound(params, lr=1e-2), paper=PAPERS["adam"], checks=["P01"])
    assert report["P01"].status is Status.PASSED
    assert report.paper == PAPERS["adam"].source


def test_the_report_as_json_text_and_table():
    report = check_optimizer(torch.optim.AdamW, checks=["C25", "C03", "P01"])
    again = json.loads(report.to_json())
    assert [f["code"] for f in again["findings"]] == ["C03", "C25", "P01"]
    assert again["findings"][1]["status"] == "failed"
    assert str(report).splitlines()[0] == "AdamW: 1 of 3 checks failed"
    from rich.console import Console

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report)
    assert "C25" in console.export_text()
    with pytest.raises(KeyError, match="the codes are C03"):
        report["X99"]


def test_numbers_json_has_no_word_for_become_text():
    class Diverges(Sound):
        def rate(self, group):
            return float("inf")

    assert "inf" in check_optimizer(Diverges, checks=["I07"], paper="adam").to_json()


def test_unknown_codes_and_papers_are_refused():
    with pytest.raises(KeyError, match="no check is called 'Z01'"):
        check_optimizer(Sound, checks=["Z01"])
    with pytest.raises(KeyError, match="no paper is called 'nadam'"):
        check_optimizer(Sound, paper="nadam")

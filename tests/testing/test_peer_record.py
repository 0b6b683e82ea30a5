"""The guide's table of other libraries' defects against the recorded run."""

import json
import re
from itertools import chain
from pathlib import Path

import pytest

from accelerando.testing import CHECKS

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "benchmarks/results/peers/table.json").read_text())
GUIDE = (ROOT / "docs/guide/conformance.md").read_text()
CLAIMS = re.findall(r"^\| .+ \| ([\w-]+: \w+\(.*\)) \| ([CIP]\d\d) \|$", GUIDE, flags=re.MULTILINE)
FOUND = {(f["optimizer"], f["code"]): f for f in RECORD["findings"]}


def test_the_table_is_read():
    assert len(CLAIMS) >= 45


@pytest.mark.parametrize(("optimizer", "code"), CLAIMS)
def test_the_record_has_it(optimizer, code):
    assert FOUND[optimizer, code]["status"] == "failed"


def test_what_is_called_right_is_right():
    for optimizer, code in [
        ("timm: Lamb(max_grad_norm=None)", "P01"),
        ("timm: Lamb(max_grad_norm=None)", "P02"),
        ("timm: AdaBelief(rectify=False)", "P01"),
        ("adabelief-pytorch: AdaBelief(rectify=False)", "P01"),
        ("pytorch_optimizer: AdaBelief()", "P01"),
    ]:
        assert FOUND[optimizer, code]["status"] == "passed"


def test_the_numbers_of_the_guide():
    grows = FOUND["adabelief-pytorch: AdaBelief(rectify=False)", "I07"]["evidence"]
    assert f"{grows['longest'] / grows['shortest']:.1f}" == "6.5"
    drops = FOUND["torch: RAdam()", "I07"]["evidence"]
    assert f"{drops['longest'] / drops['shortest']:.0f}" == "19"
    assert FOUND["torch-optimi: RAdam()", "P01"]["evidence"]["variant"]


def test_the_record_is_of_these_checks():
    assert RECORD["checks"] == {code: check.title for code, check in CHECKS.items()}


def test_the_guide_names_every_check():
    section = GUIDE.split("## What is asked")[1].split("## The transcriptions")[0]
    named = set(re.findall(r"\b[CIP]\d\d\b", section))
    ranges = re.findall(r"([CIP])(\d\d) to \1(\d\d)", section)
    spans = ([f"{kind}{n:02}" for n in range(int(low), int(high) + 1)] for kind, low, high in ranges)
    assert named | set(chain.from_iterable(spans)) == set(CHECKS)

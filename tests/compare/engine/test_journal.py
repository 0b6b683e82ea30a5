import math
import resource

import pytest

from accelerando.compare import journal
from accelerando.compare.records import Outcome, Trial

TRIAL = Trial("t", "hash", "sgd", 1e-3, 0, "tune", 10, "cpu", (("torch", "2"), ("ö", "1")))
DONE = Outcome(
    TRIAL,
    "diverged",
    final={"accuracy": 0.5, "loss": math.inf},
    evals=((0, {"loss": 1.0}), (10, {"loss": math.nan})),
    losses=((1, 2.5), (2, -math.inf)),
    rates=((1, 1e-3, 1e-3, 1.0, 1e-3),),
    rise=(7, 2.5),
    seconds=0.25,
    message="line one\nline two",
    place="train.py:3 in loss",
    traceback="Traceback …",
)


def test_reads_what_it_wrote(tmp_path):
    path = tmp_path / "a.jsonl"
    journal.write(path, DONE)
    assert repr(journal.read(path)) == repr(DONE)
    assert b"NaN" not in path.read_bytes()


def test_any_torn_end_is_a_trial_to_be_run_again(tmp_path):
    whole = tmp_path / "whole.jsonl"
    journal.write(whole, DONE)
    text = whole.read_bytes()
    torn = tmp_path / "torn.jsonl"
    for size in range(len(text) - 1):
        torn.write_bytes(text[:size])
        assert journal.read(torn) is None, text[:size][-40:]
        journal.write(torn, DONE)
        assert repr(journal.read(torn)) == repr(DONE)
        assert torn.read_bytes().startswith(text[:size])


def test_the_first_complete_attempt_counts(tmp_path):
    path = tmp_path / "a.jsonl"
    journal.write(path, DONE)
    journal.write(path, Outcome(TRIAL, "done", {"loss": 1.0}))
    assert journal.read(path).status == "diverged"


def test_another_format_is_not_read(tmp_path):
    path = tmp_path / "a.jsonl"
    journal.write(path, DONE)
    path.write_bytes(path.read_bytes().replace(b"accelerando.trial/1", b"accelerando.trial/9"))
    assert journal.read(path) is None


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "a.jsonl"
    journal.write(path, DONE)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        with pytest.raises(OSError):
            journal.write(path, DONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before

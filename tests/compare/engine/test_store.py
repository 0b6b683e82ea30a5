import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from accelerando.compare import index, journal
from accelerando.compare.records import Experiment, Outcome, Trial
from accelerando.compare.store import Store, read
from accelerando.errors import StoreError

TRIAL = Trial("t", "hash", "sgd", 1e-3, 0, "tune", 10, "cpu", ())
DONE = Outcome(TRIAL, "done", {"loss": 1.0}, evals=((0, {"loss": 2.0}), (10, {"loss": 1.0})))
ASKED = Experiment({"name": "t", "hash": "hash"}, (), (1e-3,), (0,), (1000,), 10, "sgd", "cpu", (), "")
HOLDER = """
import sys, time
from pathlib import Path
from accelerando.compare.store import Store
with Store(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(folder):
    """Another process that holds the folder."""
    words = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_is_recorded_is_there_when_it_is_opened_again(tmp_path):
    with Store(tmp_path) as store:
        assert store.outcome(TRIAL) is None
        store.begin(TRIAL)
        store.record(DONE)
    with Store(tmp_path) as store:
        assert store.outcome(TRIAL) == DONE
        assert not store.notices


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    with other_process(tmp_path) as holder:
        with pytest.raises(StoreError, match=f"in use by process {holder.pid}.*--out"):
            Store(tmp_path)
    with Store(tmp_path):  # killed, it holds nothing
        pass


def test_a_process_that_slept_past_its_lease_stops(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        with sqlite3.connect(tmp_path / "index.db") as database:
            database.execute("UPDATE lease SET owner = 'another'")
        database.close()
        store.renew()  # too soon to look
        monkeypatch.setattr(index.time, "time", lambda: store._index._renewed + index.LEASE_SECONDS)
        with pytest.raises(StoreError, match="took this folder over"):
            store.renew()


def test_a_lease_of_another_host_runs_out(tmp_path):
    with Store(tmp_path) as store:
        assert store.folder == tmp_path
    lease = ("INSERT INTO lease VALUES (1, 'x', 'elsewhere', 1, 'b', ?)", (index.time.time() + 30,))
    with sqlite3.connect(tmp_path / "index.db") as database:
        database.execute(*lease)
    database.close()
    with pytest.raises(StoreError, match="in use by process 1 on elsewhere"):
        Store(tmp_path)
    with sqlite3.connect(tmp_path / "index.db") as database:
        database.execute("UPDATE lease SET until = 1")
    database.close()
    with Store(tmp_path):
        pass


@pytest.mark.parametrize("harm", ["gone", "garbage", "torn", "another version"])
def test_the_index_is_rebuilt_from_the_journals(tmp_path, harm):
    with Store(tmp_path) as store:
        store.record(DONE)
    path = tmp_path / "index.db"
    if harm == "gone":
        path.unlink()
    elif harm == "garbage":
        path.write_bytes(b"not a database" * 1000)
    elif harm == "torn":
        path.write_bytes(path.read_bytes()[:-5000])
    else:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 77")
        database.close()
    with Store(tmp_path) as store:
        assert store.outcome(TRIAL) == DONE
        assert store._index.known() == {TRIAL.id: "done"}
        assert bool(store.notices) == (harm != "gone")


def test_a_trial_journalled_but_not_indexed_is_done(tmp_path):
    with Store(tmp_path) as store:
        store.begin(TRIAL)
        journal.write(tmp_path / "trials" / f"{TRIAL.id}.jsonl", DONE)
    with Store(tmp_path) as store:
        assert store._index.known() == {TRIAL.id: "done"}


def test_a_network_file_system_gets_no_wal(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "file_system", lambda path: "nfs4")
    with Store(tmp_path) as store:
        assert store._index.mode == "delete"
        assert "network file system" in store.notices[0]
        store.record(DONE)


def test_tells_the_file_system():
    assert index.file_system(Path("/proc/self")) == "proc"


def test_counts_lost_workers_over_restarts(tmp_path):
    for expected in (1, 2):
        with Store(tmp_path) as store:
            store.begin(TRIAL)
            assert store.lost(TRIAL) == expected


def test_forgetting_sets_aside(tmp_path):
    with Store(tmp_path) as store:
        store.record(DONE)
        store.forget([TRIAL])
        assert store.outcome(TRIAL) is None
    assert len(list((tmp_path / "trials").glob("*.old"))) == 1


def test_counts_what_an_older_task_recorded(tmp_path):
    with Store(tmp_path) as store:
        store.record(DONE)
        store.begin(replace(TRIAL, seed=1))
        assert store.stale("t", "hash") == 0
        assert store.stale("t", "newer") == 1


def test_a_full_disk_is_said_and_loses_nothing(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        store.record(DONE)

        def full(descriptor, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            with pytest.raises(StoreError, match=r"no space left.*the same command continues"):
                store.record(replace(DONE, trial=replace(TRIAL, seed=1)))
        assert store.outcome(TRIAL) == DONE
        assert store.outcome(replace(TRIAL, seed=1)) is None


@pytest.fixture
def unprivileged():
    """Not root, whom no file's rights hold back; and a folder that is nobody's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.usefixtures("unprivileged")
def test_a_folder_that_cannot_be_written_is_said(unprivileged):
    if os.geteuid() != 65534:
        unprivileged.chmod(0o555)
    with pytest.raises(StoreError, match=r"cannot be written.*--out"):
        Store(unprivileged / "records")


def test_reading_writes_nothing(tmp_path):
    with Store(tmp_path) as store:
        store.write_experiment(ASKED)
        store.record(DONE)
    (tmp_path / "index.db").unlink()
    assert read(tmp_path) == (ASKED, [DONE])
    assert not (tmp_path / "index.db").exists()


def test_reading_says_what_is_wrong(tmp_path):
    with pytest.raises(StoreError, match="holds no experiment"):
        read(tmp_path)
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "experiment.json").write_text('{"format": "accelerando.experiment/9"}')
    with pytest.raises(StoreError, match="not of format"):
        read(tmp_path)

"""A folder of records: journals, an index over them, and the experiment.

::

    OUT/experiment.json    what was asked and what was chosen   (accelerando.experiment/1)
    OUT/trials/ID.jsonl    one per trial, append-only            (accelerando.trial/1)
    OUT/index.db           SQLite; can be deleted                (user_version 1)

Only the driver writes here. A trial is recorded when its journal is on the disk.
"""

import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from accelerando.compare import journal
from accelerando.compare.index import Index
from accelerando.compare.records import Experiment, Outcome, Trial, plain
from accelerando.errors import StoreError

FORMAT = "accelerando.experiment/1"


class Store:
    """An open folder, owned by this process until it is closed.

    Args:
        folder: Made if missing.

    Raises:
        StoreError: It cannot be written, is full, or another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notices: list[str] = []
        try:
            (folder / "trials").mkdir(parents=True, exist_ok=True)
            self._index = self._open_index()
            self._reindex()
        except (OSError, sqlite3.OperationalError) as error:
            raise _explained(error, folder) from error
        if self._index.mode != "wal":
            self.notices.append(f"the index is kept without WAL: {folder} lies on a network file system")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()

    def outcome(self, trial: Trial) -> Outcome | None:
        """What is recorded of a trial."""
        path = self._path(trial.id)
        return journal.read(path) if path.is_file() else None

    def begin(self, trial: Trial) -> None:
        """Note that a trial is running."""
        self._index.put(_row(trial, "running", None))

    def record(self, outcome: Outcome) -> None:
        """Write what became of a trial: journal first, then index.

        Raises:
            StoreError: It could not be written; everything recorded before is kept.
        """
        try:
            journal.write(self._path(outcome.trial.id), outcome)
            self._index.put(_row(outcome.trial, outcome.status, outcome.final.get("loss")))
        except (OSError, sqlite3.OperationalError) as error:
            raise _explained(error, self.folder) from error

    def stale(self, task: str, task_hash: str) -> int:
        """How many finished trials are recorded of a task of that name with another hash."""
        return self._index.stale(task, task_hash)

    def forget(self, trials: Iterable[Trial]) -> None:
        """Set the records of these trials aside, so that they are run again: ``ID.jsonl.old``."""
        for trial in trials:
            path = self._path(trial.id)
            path.replace(path.with_suffix(".jsonl.old"))
            self._index.put(_row(trial, "set aside", None))

    def lost(self, trial: Trial) -> int:
        """Count one more lost worker for a trial; returns how many it has lost."""
        return self._index.lost(trial.id)

    def renew(self) -> None:
        """Keep the folder; to be called often."""
        try:
            self._index.renew()
        except sqlite3.OperationalError as error:
            raise _explained(error, self.folder) from error

    def write_experiment(self, experiment: Experiment) -> None:
        """Replace ``experiment.json`` in one move."""
        text = (
            json.dumps(plain({"format": FORMAT, **experiment.to_json()}), indent=1, ensure_ascii=False) + "\n"
        )
        path = self.folder / "experiment.json"
        try:
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                return
            fresh = path.with_suffix(".json.new")
            with fresh.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            raise _explained(error, self.folder) from error

    def _path(self, trial: str) -> Path:
        return self.folder / "trials" / f"{trial}.jsonl"

    def _open_index(self) -> Index:
        path = self.folder / "index.db"
        try:
            return Index(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self.notices.append(f"index.db was broken ({error}) and has been rebuilt from the journals")
            for name in ("index.db", "index.db-wal", "index.db-shm"):
                (self.folder / name).unlink(missing_ok=True)
            return Index(path)

    def _reindex(self) -> None:
        """Make the index say what the journals say."""
        known = self._index.known()
        for path in sorted((self.folder / "trials").glob("*.jsonl")):
            if known.get(path.stem) in (None, "running", "set aside"):
                found = journal.read(path)
                if found is not None:
                    self._index.put(_row(found.trial, found.status, found.final.get("loss")))


def read(folder: Path) -> tuple[Experiment, list[Outcome]]:
    """The experiment and every recorded outcome of a folder, without writing to it.

    Raises:
        StoreError: The folder holds no experiment, or one of another format.
    """
    path = folder / "experiment.json"
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{folder} holds no experiment.json; give the folder that compare wrote") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}; run the same compare command again") from error
    if words.pop("format", None) != FORMAT:
        raise StoreError(f"{path} is not of format {FORMAT}; read it with the version that wrote it")
    found = (journal.read(place) for place in sorted((folder / "trials").glob("*.jsonl")))
    return Experiment.from_json(words), [outcome for outcome in found if outcome is not None]


def _row(
    trial: Trial, status: str, final: float | None
) -> tuple[str, str, str, str, float | None, int, str, str, float | None]:
    where = (trial.id, trial.task, trial.task_hash, trial.strategy, trial.rate, trial.seed, trial.phase)
    return (*where, status, final)


def _explained(error: OSError | sqlite3.OperationalError, folder: Path) -> StoreError:
    """What happened to the folder, and the way out."""
    text = str(error)
    full = getattr(error, "errno", None) in (28, 122) or "full" in text
    locked = getattr(error, "errno", None) in (1, 13, 30) or "readonly" in text or "unable to open" in text
    kept = "what is recorded is kept, and the same command continues"
    if full:
        return StoreError(f"{folder}: no space left on the disk ({text}); free some, then {kept}")
    if locked:
        return StoreError(
            f"{folder} cannot be written ({text}); choose another folder with --out, or mend its rights"
        )
    return StoreError(f"{folder}: {text}; {kept}")

"""The index of a store: SQLite, rebuilt from the journals whenever it is missing or broken.

It holds what the journals cannot: which driver owns the folder (a lease), which trials are running and how
often each has lost its worker. Everything else in it is a copy.
"""

import os
import socket
import sqlite3
import time
from pathlib import Path
from uuid import uuid4

from accelerando.errors import StoreError

VERSION = 1
LEASE_SECONDS = 60.0
_NETWORKED = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "gpfs", "beegfs", "fuse.sshfs", "ceph"}
_TABLES = """
CREATE TABLE IF NOT EXISTS trial (
    id TEXT PRIMARY KEY, task TEXT, task_hash TEXT, strategy TEXT, rate REAL, seed INTEGER, phase TEXT,
    status TEXT NOT NULL, losses INTEGER NOT NULL DEFAULT 0, final REAL);
CREATE TABLE IF NOT EXISTS lease (
    one INTEGER PRIMARY KEY CHECK (one = 1), owner TEXT, host TEXT, pid INTEGER, born TEXT, until REAL);
"""


class Index:
    """An open index whose lease this process holds.

    Args:
        path: The database file.

    Raises:
        StoreError: Another process holds the folder.
        sqlite3.DatabaseError: The file is not a sound index.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        self._owner = uuid4().hex
        self._renewed = 0.0
        self.mode = self._journal_mode(path)
        try:
            found = self._database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise sqlite3.DatabaseError(f"index version {found}")
            self._database.executescript(_TABLES + f"PRAGMA user_version = {VERSION};")
            self._claim(path.parent)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Give the lease back."""
        self._database.execute("DELETE FROM lease WHERE owner = ?", (self._owner,))
        self._database.close()

    def renew(self) -> None:
        """Keep the lease; called at every turn, writes every few seconds.

        Raises:
            StoreError: Another process has taken the folder, because this one slept past its lease.
        """
        now = time.time()
        if now - self._renewed < LEASE_SECONDS / 6:
            return
        self._renewed = now
        kept = self._database.execute(
            "UPDATE lease SET until = ? WHERE owner = ?", (now + LEASE_SECONDS, self._owner)
        ).rowcount
        if not kept:
            raise StoreError(
                "another process took this folder over while this one was stopped; leave it to it"
            )

    def known(self) -> dict[str, str]:
        """Trial id → status."""
        return dict(self._database.execute("SELECT id, status FROM trial"))

    def put(self, row: tuple[str, str, str, str, float | None, int, str, str, float | None]) -> None:
        """Write id, task, task_hash, strategy, rate, seed, phase, status and final loss of a trial."""
        self._database.execute(
            "INSERT INTO trial (id, task, task_hash, strategy, rate, seed, phase, status, final) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET status = excluded.status, final = excluded.final",
            row,
        )

    def stale(self, task: str, task_hash: str) -> int:
        """How many finished trials are recorded of a task of that name with another hash."""
        row = self._database.execute(
            "SELECT count(*) FROM trial WHERE task = ? AND task_hash != ? "
            "AND status NOT IN ('running', 'set aside')",
            (task, task_hash),
        ).fetchone()
        return int(row[0])

    def lost(self, trial: str) -> int:
        """Count one more lost worker for a trial; returns how many it has lost."""
        self._database.execute("UPDATE trial SET losses = losses + 1 WHERE id = ?", (trial,))
        row = self._database.execute("SELECT losses FROM trial WHERE id = ?", (trial,)).fetchone()
        return int(row[0])

    def _journal_mode(self, path: Path) -> str:
        wanted = "delete" if file_system(path) in _NETWORKED else "wal"
        found = self._database.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0]
        if found == "wal":
            # A power cut may take the last rows, which the journals have; it cannot break the file.
            self._database.execute("PRAGMA synchronous = NORMAL")
        return str(found)

    def _claim(self, folder: Path) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            held = self._database.execute("SELECT host, pid, born, until FROM lease").fetchone()
            if held is not None and _alive(*held):
                raise StoreError(
                    f"{folder} is in use by process {held[1]} on {held[0]}; wait for it, stop it, or choose "
                    f"another folder with --out"
                )
            self._renewed = time.time()
            self._database.execute(
                "INSERT OR REPLACE INTO lease VALUES (1, ?, ?, ?, ?, ?)",
                (
                    self._owner,
                    socket.gethostname(),
                    os.getpid(),
                    _born(os.getpid()),
                    self._renewed + LEASE_SECONDS,
                ),
            )
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise


def file_system(path: Path) -> str:
    """The type of the file system that holds ``path``, in Linux's words; empty where that cannot be told."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    place = path.resolve()
    holding = [(len(point), kind) for _, point, kind, *_ in mounts if place.is_relative_to(point)]
    return max(holding, default=(0, ""))[1]


def _alive(host: str, pid: int, born: str, until: float) -> bool:
    """Whether a lease's holder still runs: asked of the system on this host, of the clock on any other."""
    if host != socket.gethostname():
        return time.time() < until
    return _born(pid) == born if born else time.time() < until


def _born(pid: int) -> str:
    """A text that no other process shares: boot and start time; empty if it is gone or cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return f"{boot}:{stat.rpartition(')')[2].split()[19]}"

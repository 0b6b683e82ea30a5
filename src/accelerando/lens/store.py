"""What the lens has recorded: in memory, and in an append-only file that outlives the process.

The file is JSON lines, one object a line, its ``kind`` saying what it is:

- ``lens``: the first line; ``version``, and the ``fields`` of a row.
- ``row``: one tensor, group or optimizer at one step, flat: what pandas and DuckDB read without us.
- ``sample``: closes the rows before it. Rows that no ``sample`` closes were cut off and do not count.
- ``event``: a finding, with its code.
- ``resume``: recording went on here from ``step``; what is above of this optimizer's later steps is void.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerando.errors import RecordingError
from accelerando.lens.rows import FIELDS, Lines, Row

VERSION = 1
DIGITS = 9


@dataclass(frozen=True)
class Sample:
    """The rows of one step of one optimizer."""

    optimizer: int
    step: int
    rows: Sequence[Row]

    def of(self, scope: str | None) -> list[Row]:
        """The rows of one scope, or all."""
        if isinstance(self.rows, Lines):
            return self.rows.of(scope)
        return [row for row in self.rows if scope is None or row["scope"] == scope]


@dataclass
class Recording:
    """Samples and events, in the order in which they were made."""

    samples: list[Sample] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, scope: str | None = None) -> list[Row]:
        """The rows of all samples, or those of one scope: tensor, group or optimizer."""
        return [row for sample in self.samples for row in sample.of(scope)]

    def last(self, optimizer: int) -> int:
        """The last step sampled, 0 if none."""
        return max((s.step for s in self.samples if s.optimizer == optimizer), default=0)

    def forget(self, optimizer: int, after: int) -> None:
        """Drop what was recorded of an optimizer beyond a step."""
        self.samples = [s for s in self.samples if s.optimizer != optimizer or s.step <= after]
        self.events = [e for e in self.events if e["optimizer"] != optimizer or e["step"] <= after]


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a recording up to its last complete sample, also while it is being written.

    Raises:
        RecordingError: there is no such file, it is no recording, or a newer version made it.
    """
    return _parse(Path(path))[0]


class Store:
    """Keeps samples, in memory and if asked in a file, and thins them when there are too many rows.

    Args:
        path: a file to begin or to go on with; None keeps everything in memory only.
        limit: how many rows to keep at most. Beyond it every second sample is dropped, and from then on every
            second one is kept, and so on. Events are never dropped.

    Raises:
        RecordingError: the file is no recording, another process writes it, or it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None, limit: int) -> None:
        self.path = None if path is None else Path(path)
        self.limit = limit
        self.recording = Recording()
        self._stride: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._rows = 0
        self._file: int | None = None
        if self.path is not None:
            self._open(self.path)

    def resume(self, optimizer: int, step: int) -> None:
        """Recording of an optimizer goes on after ``step``."""
        if any(s.optimizer == optimizer for s in self.recording.samples):
            self.recording.forget(optimizer, step)
            self._rows = self._count()
            self._write([{"kind": "resume", "optimizer": optimizer, "step": step}])

    def add(self, sample: Sample) -> None:
        """Keep a sample, unless thinning passes over it."""
        seen = self._seen[sample.optimizer] = self._seen.get(sample.optimizer, -1) + 1
        if seen % self._stride.get(sample.optimizer, 1):
            return
        self.recording.samples.append(sample)
        if self._file is not None:
            self._write(_lines(sample))
        self._rows += len(sample.rows)
        if self._rows > self.limit:
            self._thin()

    def event(self, event: dict[str, Any]) -> None:
        """Keep an event."""
        self.recording.events.append(event)
        self._write([{"kind": "event", **event}])

    def close(self) -> None:
        """Close the file. What is recorded stays readable."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, path: Path) -> None:
        if path.exists() and path.stat().st_size:
            self.recording, complete = _parse(path)
            self._rows = self._count()
            self._file = _opened(path, os.O_RDWR)
            os.truncate(self._file, complete)
            os.lseek(self._file, 0, os.SEEK_END)
            return
        self._file = _opened(path, os.O_RDWR | os.O_CREAT)
        self._write([_header()])

    def _count(self) -> int:
        return sum(len(sample.rows) for sample in self.recording.samples)

    def _thin(self) -> None:
        kept: list[Sample] = []
        count: dict[int, int] = {}
        for sample in self.recording.samples:
            count[sample.optimizer] = count.get(sample.optimizer, -1) + 1
            if count[sample.optimizer] % 2 == 0:
                kept.append(sample)
        for optimizer in count:
            self._stride[optimizer] = 2 * self._stride.get(optimizer, 1)
        self.recording.samples = kept
        self._rows = self._count()
        if self.path is None or self._file is None:
            return
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        lines: list[dict[str, Any]] = [_header()]
        lines += [{"kind": "event", **event} for event in self.recording.events]
        for sample in kept:
            lines += _lines(sample)
        new = _opened(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        _all(new, _bytes(lines))
        fresh.replace(self.path)
        os.close(self._file)
        self._file = new

    def _write(self, lines: Sequence[dict[str, Any]]) -> None:
        if self._file is not None:
            try:
                _all(self._file, _bytes(lines))
            except OSError as error:
                raise RecordingError(f"lens: {self.path} cannot be written: {error.strerror}") from error


def _header() -> dict[str, Any]:
    return {"kind": "lens", "version": VERSION, "fields": FIELDS}


def _lines(sample: Sample) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"kind": "row", **row} for row in sample.rows]
    return [*rows, {"kind": "sample", "optimizer": sample.optimizer, "step": sample.step}]


def _bytes(lines: Sequence[dict[str, Any]]) -> bytes:
    return "".join(
        json.dumps({k: _short(v) for k, v in line.items()}, ensure_ascii=False, allow_nan=False) + "\n"
        for line in lines
    ).encode()


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _opened(path: Path, flags: int) -> int:
    try:
        file = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError as error:
        raise RecordingError(f"lens: {path} cannot be written: {error.strerror}") from error
    try:
        import fcntl
    except ImportError:  # not on Windows: there, a second writer is the user's own business
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise RecordingError(
            f"lens: {path} is being written by another lens; give each its own file"
        ) from None
    return file


def _parse(path: Path) -> tuple[Recording, int]:
    """A recording, and how many bytes of the file are complete."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"lens: {path} cannot be read: {error.strerror}") from error
    recording, rows, complete, at = Recording(), [], 0, 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        at += len(line)
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if number == 1:
            _check_header(path, entry)
        if not isinstance(entry, dict):
            if at < len(data):
                raise RecordingError(
                    f"lens: {path} is damaged at line {number}; the lines above it are sound"
                )
            break
        if entry.get("kind") == "row":
            rows.append({key: entry.get(key) for key in FIELDS})
            continue
        _enter(recording, entry, rows)
        rows, complete = [], at
    return recording, complete


def _enter(recording: Recording, entry: dict[str, Any], rows: list[Row]) -> None:
    kind = entry.pop("kind", None)
    if kind == "sample":
        recording.samples.append(Sample(entry["optimizer"], entry["step"], tuple(rows)))
    elif kind == "event":
        recording.events.append(entry)
    elif kind == "resume":
        recording.forget(entry["optimizer"], entry["step"])


def _check_header(path: Path, entry: Any) -> None:
    if not isinstance(entry, dict) or entry.get("kind") != "lens":
        raise RecordingError(f"lens: {path} is no lens recording; its first line does not say so")
    if entry.get("version") != VERSION:
        raise RecordingError(
            f"lens: {path} is of format version {entry.get('version')}, this release reads {VERSION}; "
            f"upgrade it"
        )

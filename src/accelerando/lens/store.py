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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accelerando.errors import RecordingError
from accelerando.lens.events import Event
from accelerando.lens.lines import DIGITS, Line, event_line, lines_of
from accelerando.lens.rows import FIELDS, VALUES, WHOLE_NUMBERS, Block, Lines, Row

VERSION = 1
FLOATS = tuple(name for at, name in enumerate(VALUES) if at not in WHOLE_NUMBERS)

Found = Sequence[tuple[int, Event]]
"""Findings, each with the place of its sample in a block."""


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

    read: list[Sample] = field(default_factory=list)
    """Those that a file had."""
    made: list[Block] = field(default_factory=list)
    """Those made since."""
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def samples(self) -> list[Sample]:
        """Every sample; its rows are made when they are read."""
        found = [
            (order, Sample(block.optimizer, step, block.lines(k)))
            for block in self.made
            for k, (order, step) in enumerate(
                zip(block.samples.orders.tolist(), block.samples.steps.tolist(), strict=True)
            )
        ]
        return self.read + [sample for _, sample in sorted(found, key=lambda one: one[0])]

    def rows(self, scope: str | None = None) -> list[Row]:
        """The rows of all samples, or those of one scope: tensor, group or optimizer."""
        return [row for sample in self.samples for row in sample.of(scope)]

    def last(self, optimizer: int) -> int:
        """The last step sampled, 0 if none."""
        return max((s.step for s in self.samples if s.optimizer == optimizer), default=0)

    def forget(self, optimizer: int, after: int) -> None:
        """Drop what was recorded of an optimizer beyond a step."""
        self.read = [s for s in self.read if s.optimizer != optimizer or s.step <= after]
        self.events = [e for e in self.events if e["optimizer"] != optimizer or e["step"] <= after]

    def count(self) -> int:
        """How many rows there are."""
        return sum(len(s.rows) for s in self.read) + sum(len(b) * len(b.places) for b in self.made)

    def halve(self) -> set[int]:
        """Drop every second sample of each optimizer, and return the optimizers."""
        seen: dict[int, int] = {}
        read, made = [], []
        for sample in self.read:
            at = seen[sample.optimizer] = seen.get(sample.optimizer, -1) + 1
            if at % 2 == 0:
                read.append(sample)
        for block in self.made:
            at = seen.get(block.optimizer, -1) + 1
            seen[block.optimizer] = at + len(block) - 1
            kept = np.arange(at % 2, len(block), 2)
            if len(kept):
                made.append(block.take(kept))
        self.read, self.made = read, made
        return set(seen)


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
        if any(s.optimizer == optimizer for s in self.recording.read):
            self.recording.forget(optimizer, step)
            self._rows = self.recording.count()
            self._write([_json({"kind": "resume", "optimizer": optimizer, "step": step})])

    def add(self, entries: Sequence[tuple[Block, Found]]) -> None:
        """Keep blocks of samples, but for those that thinning passes over, and all events."""
        lines: list[Line] = []
        thinned = False
        for block, found in entries:
            for part, thins in self._kept(block):
                self.recording.made.append(part)
                thinned |= thins
                if thins:
                    for optimizer in self.recording.halve():
                        self._stride[optimizer] = 2 * self._stride.get(optimizer, 1)
                    self._rows = self.recording.count()
                elif self._file is not None:
                    lines += lines_of(part)
            orders = block.samples.orders
            lines += [event_line(int(orders[k]), event) for k, event in found]
        told = sorted(
            ((int(block.samples.orders[k]), event) for block, found in entries for k, event in found),
            key=lambda one: one[0],
        )
        self.recording.events += [event.as_dict() for _, event in told]
        if self._file is None:
            return
        if thinned:
            self._write_anew()
        else:
            self._write([line.text for line in sorted(lines, key=lambda line: line.order)])

    def _kept(self, block: Block) -> Iterator[tuple[Block, bool]]:
        """The parts of a block that are kept, and whether with it there are too many rows."""
        begin, optimizer, each = 0, block.optimizer, len(block.places)
        first = self._seen.get(optimizer, 0)
        self._seen[optimizer] = first + len(block)
        while begin < len(block):
            stride = self._stride.get(optimizer, 1)
            due = np.arange(begin + -(first + begin) % stride, len(block), stride)
            due = due[: (self.limit - self._rows) // each + 1]
            if not len(due):
                return
            self._rows += each * len(due)
            begin = int(due[-1]) + 1
            whole = len(due) == len(block)
            yield block if whole else block.take(due), self._rows > self.limit

    def close(self) -> None:
        """Close the file. What is recorded stays readable."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, path: Path) -> None:
        if path.exists() and path.stat().st_size:
            self.recording, complete = _parse(path)
            self._rows = self.recording.count()
            self._file = _opened(path, os.O_RDWR)
            os.truncate(self._file, complete)
            os.lseek(self._file, 0, os.SEEK_END)
            return
        self._file = _opened(path, os.O_RDWR | os.O_CREAT)
        self._write([_json(_header())])

    def _write_anew(self) -> None:
        """The whole file, in the place of the one there is."""
        if self.path is None or self._file is None:
            raise AssertionError
        recording, fresh = self.recording, self.path.with_name(f".{self.path.name}.{os.getpid()}")
        texts = [_json(_header()), *(_json({"kind": "event", **event}) for event in recording.events)]
        for sample in recording.read:
            texts += [_json({"kind": "row", **row}) for row in sample.rows]
            texts.append(_json({"kind": "sample", "optimizer": sample.optimizer, "step": sample.step}))
        made = [line for block in recording.made for line in lines_of(block)]
        texts += [line.text for line in sorted(made, key=lambda line: line.order)]
        try:
            new = _opened(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            _all(new, "".join(texts).encode())
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._full(error) from error
        fresh.replace(self.path)
        os.close(self._file)
        self._file = new

    def _write(self, texts: Sequence[str]) -> None:
        """Append lines; where that fails, none of them."""
        if self._file is None:
            return
        complete = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            _all(self._file, "".join(texts).encode())
        except OSError as error:
            os.truncate(self._file, complete)
            os.lseek(self._file, complete, os.SEEK_SET)
            raise self._full(error) from error

    def _full(self, error: OSError) -> RecordingError:
        return RecordingError(
            f"lens: {self.path} cannot be written: {error.strerror}; what was recorded before stays readable, and "
            "later samples are in memory only until it can be written again"
        )


def _header() -> dict[str, Any]:
    return {"kind": "lens", "version": VERSION, "fields": FIELDS}


def _json(line: dict[str, Any]) -> str:
    return json.dumps({k: _short(v) for k, v in line.items()}, ensure_ascii=False, allow_nan=False) + "\n"


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
            rows.append(_row(entry))
            continue
        _enter(recording, entry, rows)
        rows, complete = [], at
    return recording, complete


def _row(entry: dict[str, Any]) -> Row:
    row = {key: entry.get(key) for key in FIELDS}
    for name in FLOATS:
        value = row[name]
        if type(value) is int:
            row[name] = float(value)
    return row


def _enter(recording: Recording, entry: dict[str, Any], rows: list[Row]) -> None:
    kind = entry.pop("kind", None)
    if kind == "sample":
        recording.read.append(Sample(entry["optimizer"], entry["step"], tuple(rows)))
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

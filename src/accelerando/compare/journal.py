"""One append-only JSONL file per trial: the truth of a comparison, written once and never changed.

Format ``accelerando.trial/1``. Every line is a JSON object with a ``kind``:

- ``trial``: the format and all fields of the `Trial`; begins an attempt.
- ``eval`` (step, metrics), ``loss`` (step, loss), ``rate`` (step, nominal, gain, alignment, effective).
- ``end``: status, final, rise, seconds, message, place, traceback; the attempt is complete.

A file whose last attempt has no ``end``, or a torn last line, is a trial that has yet to be run: the next
attempt is appended after it. Readers take the first complete attempt and ignore lines that are not whole.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerando.compare.records import Outcome, written

FORMAT = "accelerando.trial/1"


def write(path: Path, outcome: Outcome) -> None:
    """Append one complete attempt and wait until it is on the disk.

    Raises:
        OSError: The disk is full, the folder read-only, …; what was half written is cut off again.
    """
    text = "".join(f"{written(line)}\n" for line in _lines(outcome)).encode()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\n" + text
        try:
            _write_all(descriptor, text)
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def read(path: Path) -> Outcome | None:
    """The first complete attempt in the file; None if there is none."""
    attempt: list[dict[str, Any]] = []
    for line in _whole_lines(path):
        if line["kind"] == "trial":
            attempt = []
        attempt.append(line)
        if line["kind"] == "end" and attempt[0]["kind"] == "trial" and attempt[0]["format"] == FORMAT:
            return _outcome(attempt)
    return None


def _write_all(descriptor: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(descriptor, view) :]


def _lines(outcome: Outcome) -> Iterator[dict[str, Any]]:
    words = outcome.to_json()
    yield {"kind": "trial", "format": FORMAT, "id": outcome.trial.id, **words["trial"]}
    for step, metrics in words["evals"]:
        yield {"kind": "eval", "step": step, "metrics": metrics}
    for step, loss in words["losses"]:
        yield {"kind": "loss", "step": step, "loss": loss}
    for step, nominal, gain, alignment, effective in words["rates"]:
        rate = {"nominal": nominal, "gain": gain, "alignment": alignment, "effective": effective}
        yield {"kind": "rate", "step": step, **rate}
    rest = ("status", "final", "rise", "seconds", "message", "place", "traceback")
    yield {"kind": "end", **{name: words[name] for name in rest}}


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().split(b"\n"):
        with suppress(ValueError):  # a torn line: not JSON, or not UTF-8
            words = json.loads(line)
            if isinstance(words, dict) and "kind" in words:
                yield words


def _outcome(attempt: list[dict[str, Any]]) -> Outcome | None:
    head, end = attempt[0], attempt[-1]
    rest = {name: value for name, value in end.items() if name != "kind"}
    with suppress(
        KeyError, TypeError, ValueError
    ):  # an edited file: run the trial again rather than trust it
        return Outcome.from_json(
            {
                "trial": {
                    name: value for name, value in head.items() if name not in ("kind", "format", "id")
                },
                "evals": [(line["step"], line["metrics"]) for line in attempt if line["kind"] == "eval"],
                "losses": [(line["step"], line["loss"]) for line in attempt if line["kind"] == "loss"],
                "rates": [
                    (line["step"], line["nominal"], line["gain"], line["alignment"], line["effective"])
                    for line in attempt
                    if line["kind"] == "rate"
                ],
                **rest,
            }
        )
    return None

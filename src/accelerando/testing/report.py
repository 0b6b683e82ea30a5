"""What the battery hands back: one finding a check, frozen, as text, as a table and as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    INAPPLICABLE = "not applicable"


@dataclass(frozen=True)
class Outcome:
    """What one check saw.

    Attributes:
        status: how it ended.
        sentence: what was seen, in one sentence.
        evidence: the numbers behind the sentence, by name.
    """

    status: Status
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def passed(sentence: str, **evidence: Any) -> Outcome:
    """The optimizer does what the check asks."""
    return Outcome(Status.PASSED, sentence, evidence)


def failed(sentence: str, **evidence: Any) -> Outcome:
    """It does not."""
    return Outcome(Status.FAILED, sentence, evidence)


def inapplicable(sentence: str, **evidence: Any) -> Outcome:
    """The question does not arise for it, and why."""
    return Outcome(Status.INAPPLICABLE, sentence, evidence)


def verdict(holds: bool, good: str, bad: str, **evidence: Any) -> Outcome:
    """One of two sentences about the same evidence."""
    return (passed if holds else failed)(good if holds else bad, **evidence)


@dataclass(frozen=True)
class Finding:
    """One check's outcome on one optimizer.

    Attributes:
        code: the check's name for ever: a letter for its kind and a number.
        kind: ``contract``, ``invariance`` or ``paper``.
        title: what is asked.
        status: how it ended.
        sentence: what was seen.
        evidence: the numbers behind it.
        warnings: what Python warned of while it ran, each text once.
    """

    code: str
    kind: str
    title: str
    status: Status
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON values; numbers that JSON has no word for become text."""
        return {
            "code": self.code,
            "kind": self.kind,
            "title": self.title,
            "status": str(self.status),
            "sentence": self.sentence,
            "evidence": {name: _plain(value) for name, value in self.evidence.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Report:
    """Every finding about one optimizer.

    Attributes:
        subject: the optimizer's name.
        options: the options it was made with.
        findings: one a check, in the order of their codes.
        paper: where the transcription it was held to comes from, or None.
    """

    subject: str
    options: Mapping[str, Any]
    findings: tuple[Finding, ...]
    paper: str | None = None

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, code: str) -> Finding:
        for finding in self.findings:
            if finding.code == code:
                return finding
        raise KeyError(f"Report: no check {code!r}; the codes are {', '.join(f.code for f in self.findings)}")

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that failed."""
        return tuple(f for f in self.findings if f.status is Status.FAILED)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "subject": self.subject,
            "options": {name: _plain(value) for name, value in self.options.items()},
            "paper": self.paper,
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        width = max((len(f.title) for f in self.findings), default=0)
        marks = {Status.PASSED: "ok  ", Status.FAILED: "FAIL", Status.INAPPLICABLE: "n/a "}
        lines = [f"{self.subject}: {len(self.failures)} of {len(self.findings)} checks failed"]
        lines += [f"  {f.code} {marks[f.status]} {f.title:{width}}  {f.sentence}" for f in self.findings]
        return "\n".join(lines)

    def __rich__(self) -> Any:
        """The report as a `rich` table."""
        from rich.table import Table
        from rich.text import Text

        colours = {Status.PASSED: "green", Status.FAILED: "bold red", Status.INAPPLICABLE: "dim"}
        table = Table(title=f"{self.subject}: {len(self.failures)} of {len(self.findings)} checks failed")
        for column in ("check", "asks", "status", "saw"):
            table.add_column(column, overflow="fold")
        for f in self.findings:
            style = colours[f.status]
            table.add_row(f.code, Text(f.title), Text(str(f.status), style=style), Text(f.sentence))
        return table


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)

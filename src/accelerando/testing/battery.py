"""The battery: every check on one optimizer, each on its own."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

import accelerando.testing.checks  # noqa: F401  (fills the registry)
from accelerando.testing.papers import Paper, recognise
from accelerando.testing.registry import CHECKS, Check
from accelerando.testing.report import Finding, Outcome, Report, Status, failed, inapplicable
from accelerando.testing.subject import Subject, gradients, starts


def check_optimizer(
    cls_or_factory: Callable[..., torch.optim.Optimizer],
    *,
    paper: Paper | str | None = None,
    checks: Iterable[str] | None = None,
    **options: Any,
) -> Report:
    """Hold an optimizer to its contract, its invariances and, where there is one, its paper.

    Each check makes optimizers of its own on small CPU tensors. One that raises is a finding like any other,
    and what Python warns of meanwhile is kept with it.

    Args:
        cls_or_factory: a `torch.optim.Optimizer` class, or anything called as ``f(params, **options)``.
        paper: the transcription to hold it to, or its name; by default the one its class is called after.
        checks: the codes to run; all by default.
        options: given to every construction.

    Raises:
        KeyError: a code or the paper's name is unknown.

    Example:
        >>> import torch
        >>> report = check_optimizer(torch.optim.AdamW, checks=["C03", "P01"])
        >>> report.ok, report["P01"].status.value
        (True, 'passed')
    """
    name = _name(cls_or_factory)
    known = _paper(paper, name)
    subject = Subject(cls_or_factory, name, options, known)
    asked = [_named(code) for code in checks] if checks is not None else list(CHECKS.values())
    asked.sort(key=lambda check: check.code)
    error = _probe(subject)
    if error is not None and _probe(replace(subject, needs_closure=True)) is None:
        subject, error = replace(subject, needs_closure=True), None
    findings = tuple(_undriveable(c, error) if error is not None else _run(c, subject) for c in asked)
    return Report(name, options, findings, known.source if known else None)


def _name(factory: Callable[..., Any]) -> str:
    if isinstance(factory, partial):
        return _name(factory.func)
    return getattr(factory, "__name__", type(factory).__name__)


def _paper(paper: Paper | str | None, name: str) -> Paper | None:
    if isinstance(paper, str):
        found = recognise(paper)
        if found is None:
            raise KeyError(f"check_optimizer: no paper is called {paper!r}")
        return found
    return paper if paper is not None else recognise(name)


def _named(code: str) -> Check:
    if code not in CHECKS:
        raise KeyError(
            f"check_optimizer: no check is called {code!r}; the codes are {', '.join(sorted(CHECKS))}"
        )
    return CHECKS[code]


@contextlib.contextmanager
def _isolated() -> Any:
    """The random state, the streams and the warnings of a check stay its own."""
    with (
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        torch.manual_seed(0)
        yield caught


def _probe(subject: Subject) -> Exception | None:
    """Why the subject cannot be made and stepped at all, or None."""
    with _isolated():
        try:
            subject.run(starts(), gradients(1))
        except Exception as error:
            return error
    return None


def _undriveable(check: Check, error: Exception) -> Finding:
    text = f"cannot be made and stepped as cls(params): {_text(error)}"
    outcome: Outcome = failed(text) if check.code == "C01" else inapplicable("cannot be driven; see C01")
    return Finding(check.code, check.kind, check.title, outcome.status, outcome.sentence)


def _run(check: Check, subject: Subject) -> Finding:
    with _isolated() as caught:
        try:
            outcome = check.ask(subject)
        except Exception as error:
            outcome = failed(f"raises {_text(error)}", error=type(error).__name__)
    reason = subject.paper.exempt.get(check.code) if subject.paper else None
    if reason and outcome.status is Status.FAILED:
        outcome = inapplicable(f"{reason}; {outcome.sentence}", **outcome.evidence)
    said = tuple(dict.fromkeys(f"{w.category.__name__}: {w.message}"[:300] for w in caught))
    return Finding(
        check.code, check.kind, check.title, outcome.status, outcome.sentence, outcome.evidence, said
    )


def _text(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"

"""``accelerando check module:Class``: the battery from the shell."""

import importlib
import json
import sys
from typing import Any

import click


@click.command()
@click.argument("subject", metavar="MODULE:CLASS")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "-o",
    "--option",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the constructor; JSON values.",
)
@click.option(
    "-c", "--check", "checks", multiple=True, metavar="CODE", help="Run only this check; repeatable."
)
@click.option("--paper", metavar="NAME", help="The method whose transcription it is held to.")
def command(
    subject: str, as_json: bool, pairs: tuple[str, ...], checks: tuple[str, ...], paper: str | None
) -> None:
    """Hold any torch optimizer to its contract, its invariances and its paper.

    MODULE:CLASS is an optimizer class, or a function called with the parameters. The exit code is 1 where a
    check failed and 2 where the call itself was wrong.

    Example: accelerando check torch.optim:RAdam -o lr=0.01
    """
    factory = _load(subject)
    options = dict(_option(pair) for pair in pairs)
    from accelerando.testing import check_optimizer

    try:
        report = check_optimizer(factory, paper=paper, checks=checks or None, **options)
    except KeyError as error:
        raise click.UsageError(str(error.args[0])) from None
    if as_json:
        click.echo(report.to_json())
    else:
        from rich.console import Console

        console = Console()
        console.print(report)
    sys.exit(0 if report.ok else 1)


def _load(subject: str) -> Any:
    module, colon, name = subject.partition(":")
    if not (module and colon and name):
        raise click.UsageError(f"check: MODULE:CLASS must name both, got {subject!r}; e.g. torch.optim:AdamW")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module in the current directory, as `python -m` finds it
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"check: cannot load {subject!r}: {error}") from None
    if not callable(found):
        raise click.UsageError(
            f"check: {subject!r} must be a class or a function, got {type(found).__name__}"
        )
    return found


def _option(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    if not equals:
        raise click.UsageError(f"check: --option must be NAME=VALUE, got {pair!r}")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, {"True": True, "False": False, "None": None}.get(text, text)

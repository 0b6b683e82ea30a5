"""``accelerando report``: rebuild a comparison's report from its records."""

from pathlib import Path
from typing import Any

import click

from accelerando.errors import AccelerandoError


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("others", nargs=-1, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of the report."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write it elsewhere than FOLDER."
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of the table.")
def command(folder: Path, others: tuple[Path, ...], lang: Any, out: Path | None, as_json: bool) -> None:
    """Rebuild the report of a comparison from the records in FOLDER, finished or not.

    With OTHERS, comparisons of the same strategies on other tasks: performance profiles over all of them.
    Only the journals and experiment.json are read; nothing is trained.
    """
    from accelerando.cli.compare import show
    from accelerando.compare.run import assembled
    from accelerando.compare.store import read

    try:
        if others:
            from accelerando.compare.report.across import write_profiles

            found = [read(place) for place in (folder, *others)]
            known = [assembled(asked, {o.trial.id: o for o in given}) for asked, given in found]
            click.echo("\n".join(map(str, write_profiles(known, out or Path(), lang))))
            return
        experiment, outcomes = read(folder)
        show(*assembled(experiment, {o.trial.id: o for o in outcomes}), out or folder, as_json, lang)
    except AccelerandoError as error:
        raise click.ClickException(str(error)) from error

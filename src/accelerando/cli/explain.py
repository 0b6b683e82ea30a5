"""``accelerando explain CODE``: what a finding means."""

import click

from accelerando.lens.codes import CODES


@click.command()
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain a finding of the lens, such as LR101; without CODE, list them all."""
    if code is None:
        for known in CODES.values():
            click.echo(f"{known.code}  {known.title}")
        return
    found = CODES.get(code.upper())
    if found is None:
        raise click.ClickException(f"there is no code {code!r}; there are {', '.join(CODES)}")
    click.echo(f"{found.code}: {found.title}\n")
    for name, text in (("Seen", found.seen), ("Means", found.means), ("Do", found.advice)):
        click.echo(click.wrap_text(text, 88, f"{name + ':':<7}", " " * 7))

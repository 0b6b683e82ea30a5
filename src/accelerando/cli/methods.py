"""``accelerando list``: the methods there are."""

import click


@click.command()
@click.argument("pattern", default="*")
def command(pattern: str) -> None:
    """List the methods whose name matches PATTERN (shell wildcards, any case)."""
    from accelerando import optim
    from accelerando.engine import registry

    for name in optim.list(pattern):
        summary = (registry.find(name).__doc__ or "").strip().splitlines()[0]
        click.echo(f"{name:<19}{summary}")

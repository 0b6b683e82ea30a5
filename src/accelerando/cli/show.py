"""``accelerando show METHOD``: the source that a backend runs."""

import click


@click.command()
@click.argument("method")
@click.option("--backend", type=click.Choice(["eager", "cpu", "cuda"]), default="cpu", show_default=True)
def command(method: str, backend: str) -> None:
    """Print the source that BACKEND makes of METHOD's functions, for float32 parameters."""
    import accelerando.optim  # noqa: F401  # the methods are known once they are made
    from accelerando.engine import registry, show
    from accelerando.errors import HyperparameterError

    try:
        cls = registry.find(method)
    except HyperparameterError as error:
        raise click.UsageError(str(error)) from None
    for rule in cls.rules.values():  # type: ignore[attr-defined]  # every registered class is an engine optimizer
        click.echo(f"# {rule.name}, {backend}\n")
        click.echo(show.source(rule, backend))

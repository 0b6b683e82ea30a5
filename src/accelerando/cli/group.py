"""The ``accelerando`` command and its sub-commands, each imported when it is called."""

from importlib import import_module
from importlib.metadata import version

import click

COMMANDS: dict[str, str] = {
    "check": "check",
    "compare": "compare",
    "explain": "explain",
    "info": "info",
    "lens": "lens",
    "list": "methods",
    "report": "report",
    "show": "show",
}
"""Sub-command → the module of `accelerando.cli` whose ``command`` it is."""


class Lazy(click.Group):
    """A group that imports a sub-command only when it is asked for, so that ``--help`` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every sub-command's name."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The sub-command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"accelerando.cli.{COMMANDS[cmd_name]}").command
        return command


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("accelerando"), prog_name="accelerando")
def accelerando() -> None:
    """What is my learning rate really doing, and can it raise itself?"""

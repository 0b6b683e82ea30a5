"""The command line: parse, call, print."""

import sys


def main() -> None:
    """Run the ``accelerando`` command."""
    try:
        from accelerando.cli.group import accelerando
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        way_out = "pip install 'accelerando[compare]'"
        sys.exit(f"accelerando: the command line needs {missing.name}; install it with: {way_out}")
    accelerando()

"""The command ``pushgateway``: the server with the Go Pushgateway's command line."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pushgate.errors import UsageError, needs_server


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the server with the arguments *argv*; return the exit status.

    ``--help`` and ``--version`` work where only the client is installed.
    """
    from pushgate.server.flags import TextRequested
    from pushgate.server.settings import parse

    prog = prog or Path(sys.argv[0]).name
    try:
        settings = parse(sys.argv[1:] if argv is None else argv, prog, os.environ)
    except TextRequested as requested:
        try:
            click.echo(requested.text, nl=False)
        except OSError as error:
            sys.stdout = None  # or Python would flush it again, and fail again
            click.echo(f"{prog}: error: cannot write to stdout: {error.strerror}", err=True)
            return 1
        return 0
    except UsageError as error:
        click.echo(str(error), err=True)
        return 1
    # Imported late: a command line that is wrong, or --help, needs no library of the server.
    try:
        from pushgate.server.run import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pushgate"):
            raise
        click.echo(f"{prog}: error: {needs_server(prog, error)}", err=True)
        return 1
    return serve(settings)

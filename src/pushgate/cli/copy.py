"""``pushgate copy``: from a persistence file to a database, or back."""

import sys

import click

from pushgate.cli.messages import UNREACHABLE, USAGE, say
from pushgate.errors import JournalFailed, StartupError, needs_server


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--replace", is_flag=True, help="Delete what TO holds; without, it must be empty.")
def copy(source: str, target: str, *, replace: bool) -> None:
    """Copy all groups between a persistence file and a PostgreSQL database.

    FROM and TO are files, or URLs such as postgresql://user@host/name; PGPASSWORD or
    ~/.pgpass keep the password out of the command line. Stop the servers of both first.
    """
    try:
        from pushgate.server.storage.copying import copy as copy_all
    except ModuleNotFoundError as error:
        raise click.ClickException(needs_server("pushgate copy", error)) from error
    try:
        copied = copy_all(source, target, replace=replace)
    except StartupError as error:
        say(str(error))
        sys.exit(USAGE)
    except JournalFailed as error:
        say(error.cause)
        sys.exit(UNREACHABLE)
    click.echo(f"copied {copied.groups} groups with {copied.series} series")

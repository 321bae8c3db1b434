"""``pushgate copy``: from a persistence file to a database, or back."""

import click

from pushgate.cli.messages import counted


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--replace", is_flag=True, help="Delete what TO holds; without, it must be empty.")
def copy(source: str, target: str, *, replace: bool) -> None:
    """Copy all groups between a persistence file and a PostgreSQL database.

    FROM and TO are files, or URLs such as postgresql://user@host/name; PGPASSWORD or
    ~/.pgpass keep the password out of the command line. Stop the servers of both first.
    """
    from pushgate.server.storage.copying import copy as copy_all

    copied = copy_all(source, target, replace=replace)
    click.echo(f"copied {counted(copied.groups, 'group')} with {copied.series} series")

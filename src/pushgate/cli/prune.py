"""``pushgate prune``: groups that nobody pushes to any more."""

import click

from pushgate.cli.list_groups import Deleting, Matching, delete_matching
from pushgate.cli.messages import failures_reported
from pushgate.cli.options import Connection, takes
from pushgate.errors import ConfigurationError


@click.command()
@takes(connection=Connection, matching=Matching, deleting=Deleting)
def prune(connection: Connection, matching: Matching, deleting: Deleting) -> None:
    """Delete the groups that were not pushed to for the time of --older-than.

    All of them, or those that --match selects. Look at them first, with --dry-run.
    """
    with failures_reported():
        if matching.older_than is None:
            raise ConfigurationError("How old? Say it with --older-than, such as 30d.")
        delete_matching(connection, matching, deleting)

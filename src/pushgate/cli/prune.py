"""``pushgate prune``: deletes groups that are no longer pushed to."""

import click

from pushgate.cli.list_groups import Deleting, Matching, delete_matching
from pushgate.cli.options import Connection, takes
from pushgate.errors import ConfigurationError


@click.command()
@takes(connection=Connection, matching=Matching, deleting=Deleting)
def prune(connection: Connection, matching: Matching, deleting: Deleting) -> None:
    """Delete the groups that nobody pushes to any more.

    These are the groups without a successful push for the time of --older-than; --match
    narrows the selection. Use --dry-run first, to see them.
    """
    # Without it, --match alone would delete groups that are still pushed to.
    if matching.older_than is None:
        raise ConfigurationError("--older-than is required, such as --older-than 30d.")
    delete_matching(connection, matching, deleting)

"""``pushgate url``: prints the URL of the group."""

import click

from pushgate.cli.options import Connection, GroupKey, Target, takes


@click.command()
@takes(target=Target, group=GroupKey)
def url(target: Target, group: GroupKey) -> None:
    """Print the URL of the group, for use with curl."""
    from pushgate.cli.configuration import gateway_for

    connection = Connection(address=target.address, define=target.define)
    click.echo(gateway_for(connection, group).url)

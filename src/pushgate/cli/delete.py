"""``pushgate delete``: a group with all its metrics, or all groups that match."""

from collections.abc import Mapping

import click

from pushgate.cli.list_groups import Deleting, Matching, delete_matching
from pushgate.cli.messages import say
from pushgate.cli.options import Connection, GroupKey, takes
from pushgate.errors import ConfigurationError, PushgatewayError

# Limit for looking up the group. If the gateway is slower, the group is deleted anyway.
_LOOK_SECONDS = 5.0


@click.command()
@takes(connection=Connection, group=GroupKey, matching=Matching, deleting=Deleting)
def delete(connection: Connection, group: GroupKey, matching: Matching, deleting: Deleting) -> None:
    """Delete a group, or all groups that match.

    If the group does not exist, say so and succeed. With --match or --older-than, delete and
    list all groups that meet the conditions.
    """
    if not (matching.match or matching.older_than):
        if matching.failed or deleting.dry_run or deleting.as_json:
            raise ConfigurationError("--failed, --dry-run and --json need --match or --older-than.")
        _delete_one(connection, group)
    elif group.labels or (group.job, group.instance) != (None, None):
        raise ConfigurationError(
            "--job, --group and --instance name one group; --match and --older-than many."
        )
    else:
        delete_matching(connection, matching, deleting)


def _delete_one(connection: Connection, group: GroupKey) -> None:
    from pushgate.cli.configuration import gateway_for

    gateway = gateway_for(connection, group)
    # A gateway answers a DELETE with 202 whether it had the group or not.
    labels = {"job": gateway.job, **gateway.grouping_key}
    try:
        groups = gateway.replace(retry=0).groups(
            deadline=min(connection.timeout or _LOOK_SECONDS, _LOOK_SECONDS)
        )
    except PushgatewayError:
        was_there = True  # unknown, and then nothing is said
    else:
        was_there = any(_without_empty(each.labels) == _without_empty(labels) for each in groups)
    gateway.delete()
    if not was_there:
        shown = ",".join(f'{name}="{value}"' for name, value in labels.items())
        say(f"there was no group {{{shown}}} at {gateway.url.partition('/metrics/')[0]}")


def _without_empty(labels: Mapping[str, str]) -> dict[str, str]:
    """Return *labels* as Prometheus compares them: an empty value is the same as none."""
    return {name: value for name, value in labels.items() if value}

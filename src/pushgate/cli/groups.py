"""``pushgate list``, ``delete`` and ``prune``: the groups that match, shown and deleted."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pushgate.cli.messages import counted, say
from pushgate.cli.options import Connection, Duration, GroupKey, option, switch, takes
from pushgate.cli.table import GROUP_HEAD, group_cells, printable, table
from pushgate.errors import ConfigurationError, PushgatewayError

if TYPE_CHECKING:
    from pushgate.client.group_list import ListedGroup

# Limit for looking up the group. If the gateway is slower, the group is deleted anyway.
_LOOK_SECONDS = 5.0


@dataclass(kw_only=True, eq=False, repr=False)
class State:
    """The state that a group has to be in."""

    failed: bool = switch("--failed", help="Only groups whose last push failed.")
    older_than: float | None = option(
        "--older-than",
        type=Duration(),
        help="Only groups without a successful push for this long, such as 30d.",
    )


@dataclass(kw_only=True, eq=False, repr=False)
class Matching(State):
    """Conditions that a group has to meet."""

    match: tuple[str, ...] = option(
        "--match",
        "-m",
        default=(),
        multiple=True,
        metavar="SELECTOR",
        help="Only groups that match, such as '{job=~\"back.*\"}'; of several, one has to match.",
    )

    @property
    def conditions(self) -> Mapping[str, Any]:
        """The same, as arguments of the client's methods."""
        return {"match": self.match, "failed": self.failed or None, "older_than": self.older_than}


@dataclass(kw_only=True, eq=False, repr=False)
class Listing:
    """How groups are shown."""

    as_json: bool = switch("--json", help="Print JSON.")


@dataclass(kw_only=True, eq=False, repr=False)
class Deleting(Listing):
    """How groups are deleted."""

    dry_run: bool = switch("--dry-run", help="Show the groups; delete nothing.")


@click.command("list")
@takes(connection=Connection, matching=Matching, listing=Listing)
def list_groups(connection: Connection, matching: Matching, listing: Listing) -> None:
    """List groups, with the reasons of failed pushes.

    Only Pushgate has this list; `status` works with every Pushgateway.
    """
    from pushgate.cli.configuration import gateway_for

    gateway = gateway_for(connection, default_job="list")
    _show(gateway.list_groups(**matching.conditions), listing)


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
        _delete_matching(connection, matching, deleting)


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
    _delete_matching(connection, matching, deleting)


def _delete_matching(connection: Connection, matching: Matching, deleting: Deleting) -> None:
    """Delete the groups that match, show them, and print their number."""
    from pushgate.cli.configuration import gateway_for

    gateway = gateway_for(connection, default_job="delete")
    groups = gateway.delete_groups(**matching.conditions, dry_run=deleting.dry_run)
    _show(groups, deleting)
    count = counted(len(groups), "group")
    say(f"would delete {count}" if deleting.dry_run else f"deleted {count}")


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


def _show(groups: Sequence["ListedGroup"], listing: Listing) -> None:
    if listing.as_json:
        click.echo(json.dumps([group._asdict() for group in groups], indent=2))
        return
    now = time.time()
    rows: list[tuple[str, ...]] = []
    for group in groups:
        # The gateway keeps the reason of a failure when a later push succeeds.
        reasons = [] if group.last_push_successful else group.failure_reason.splitlines()
        cells = group_cells(group, now, is_late=group.late)
        rows.append((*cells, " ".join(map(printable, reasons))))
    for line in table((*GROUP_HEAD, "REASON"), rows):
        click.echo(line)

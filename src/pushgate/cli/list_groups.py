"""``pushgate list``, and the selection of groups that ``delete`` and ``prune`` share with it."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pushgate.cli.messages import counted, say
from pushgate.cli.options import Connection, Duration, option, switch, takes
from pushgate.cli.table import GROUP_HEAD, group_cells, printable, table

if TYPE_CHECKING:
    from pushgate.client.group_list import ListedGroup


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


def delete_matching(connection: Connection, matching: Matching, deleting: Deleting) -> None:
    """Delete the groups that match, show them, and print their number."""
    from pushgate.cli.configuration import gateway_for

    gateway = gateway_for(connection, default_job="delete")
    groups = gateway.delete_groups(**matching.conditions, dry_run=deleting.dry_run)
    _show(groups, deleting)
    count = counted(len(groups), "group")
    say(f"would delete {count}" if deleting.dry_run else f"deleted {count}")


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

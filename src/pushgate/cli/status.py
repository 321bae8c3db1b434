"""``pushgate status``: the version and the groups of a gateway."""

import json
import sys
import time

import click

from pushgate.cli.groups import Listing, State
from pushgate.cli.messages import say
from pushgate.cli.options import Connection, GroupKey, takes
from pushgate.cli.table import GROUP_HEAD, group_cells, table

_ABSENT = 1


@click.command()
@takes(
    {
        "job": "Only groups of this job.",
        "labels": "Only groups with this label; repeatable.",
        "instance": "Only groups with this label instance.",
    },
    connection=Connection,
    group=GroupKey,
    state=State,
    listing=Listing,
)
@click.argument("family", required=False)
def status(
    family: str | None, connection: Connection, group: GroupKey, state: State, listing: Listing
) -> None:
    """Show the version and the groups of the gateway.

    With FAMILY, show only groups with a metric of this name; the exit status is 1 if there are
    none.
    """
    from pushgate.cli.configuration import gateway_for

    # The job is not used: status asks about no group in particular.
    gateway = gateway_for(connection, default_job="status")
    about = gateway.status()
    now = time.time()
    wanted = [("job", group.job), ("instance", group.instance), *group.labels.items()]
    groups = [
        each
        for each in gateway.groups()
        # As in Prometheus, a label that is missing is the same as an empty one.
        if all(text in {None, each.labels.get(name, "")} for name, text in wanted)
        and (family is None or family in each.families)
    ]
    # The exit status is about FAMILY: a group that is filtered out by its state has it.
    shown = [
        each
        for each in groups
        if not (state.failed and each.last_push_successful)
        and (state.older_than is None or now - (each.last_push or 0) > state.older_than)
    ]
    if listing.as_json:
        shown_groups = [each._asdict() for each in shown]
        answer = {"version": about.version, "start_time": about.start_time}
        click.echo(json.dumps({**answer, "groups": shown_groups}, indent=2))
    else:
        click.echo(f"version {about.version or 'unknown'}, started {about.start_time}")
        for line in table(GROUP_HEAD, [group_cells(each, now) for each in shown]):
            click.echo(line)
    if family is not None and not groups:
        say(f"no such group has a metric {family!r}")
        sys.exit(_ABSENT)

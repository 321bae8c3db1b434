"""``pushgate status``: the version and the groups of a gateway."""

import json
import sys
import time
from dataclasses import dataclass

import click

from pushgate.cli.messages import say
from pushgate.cli.options import Connection, Duration, Pairs, option, pairs_option, switch, takes
from pushgate.cli.table import age, label_cells, table

_ABSENT = 1


@dataclass(kw_only=True, eq=False, repr=False)
class Selection:
    """Which groups to show, and how."""

    job: str | None = option("--job", "-j", help="Only groups of this job.")
    labels: Pairs = pairs_option("--group", "-g", help="Only groups with this label; repeatable.")
    instance: str | None = option("--instance", help="Only groups with this label instance.")
    failed: bool = switch("--failed", help="Only groups whose last push failed.")
    older_than: float | None = option(
        "--older-than",
        type=Duration(),
        help="Only groups without a successful push for this long, such as 26h.",
    )
    as_json: bool = switch("--json", help="Print JSON.")


@click.command()
@takes(connection=Connection, selection=Selection)
@click.argument("family", required=False)
def status(family: str | None, connection: Connection, selection: Selection) -> None:
    """Show the version and the groups of the gateway.

    With FAMILY, show only groups with a metric of this name; the exit status is 1 if there are
    none.
    """
    from pushgate.cli.configuration import gateway_for

    # The job is not used: status asks about no group in particular.
    gateway = gateway_for(connection, default_job="status")
    about = gateway.status()
    now = time.time()
    named = {"job": selection.job, "instance": selection.instance}
    wanted = {
        **selection.labels,
        **{name: text for name, text in named.items() if text is not None},
    }
    groups = [
        group
        for group in gateway.groups()
        # As in Prometheus, a label that is missing is the same as an empty one.
        if all(group.labels.get(name, "") == text for name, text in wanted.items())
        and (family is None or family in group.families)
    ]
    # The exit status is about FAMILY: a group that is filtered out by its state has it.
    shown = [
        group
        for group in groups
        if not (selection.failed and group.last_push_successful)
        and (selection.older_than is None or now - (group.last_push or 0) > selection.older_than)
    ]
    if selection.as_json:
        shown_groups = [group._asdict() for group in shown]
        answer = {"version": about.version, "start_time": about.start_time}
        click.echo(json.dumps({**answer, "groups": shown_groups}, indent=2))
    else:
        click.echo(f"version {about.version or 'unknown'}, started {about.start_time}")
        rows = [
            (
                *label_cells(group.labels),
                age(group.last_push, now),
                "ok" if group.last_push_successful else "failed",
                str(group.series),
            )
            for group in shown
        ]
        for line in table(("JOB", "LABELS", "AGE", "STATE", "SERIES"), rows):
            click.echo(line)
    if family is not None and not groups:
        say(f"no such group has a metric {family!r}")
        sys.exit(_ABSENT)

"""``pushgate import``: copies the groups of a running gateway into another one."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import click

from pushgate.cli.messages import REJECTED, counted, log_to_stderr
from pushgate.cli.options import Requests, option, switch, takes
from pushgate.client.gateway import PushGateway
from pushgate.client.retry import Retry
from pushgate.errors import ConfigurationError, PushgatewayError, PushRejectedError
from pushgate.migration.running import ACCEPT, Copy, copies, put

# Seconds: the scrape of a large gateway takes long.
_DEFAULT_TIMEOUT = 120.0


@dataclass(kw_only=True, eq=False, repr=False)
class ImportOptions:
    """What to copy, and where."""

    target: str = option(
        "--to",
        default="localhost:9091",
        show_default=True,
        help="The new gateway: host:port or URL, perhaps with user:password@.",
    )
    dry_run: bool = switch("--dry-run", help="Show what would be copied; push nothing.")
    replace: bool = switch(
        "--replace",
        help="Replace groups that the new gateway has already, instead of keeping them.",
    )
    source_bearer_token_file: str | None = option(
        "--source-bearer-token-file", type=click.Path(), help="File with the token for SOURCE."
    )


@click.command("import")
@click.argument("source")
@takes(
    {
        "timeout": "Limit for each request with all its retries.  [default: 120s]",
        "bearer_token_file": "File with the token for the new gateway.",
        "insecure": "Do not verify certificates.",
    },
    options=ImportOptions,
    requests=Requests,
)
def import_groups(source: str, options: ImportOptions, requests: Requests) -> None:
    """Copy all groups of the running gateway SOURCE.

    SOURCE, such as http://old-gateway:9091, keeps its groups. The copies have all metrics, but
    the time of the import as their push time.
    """
    log_to_stderr()
    # The scrape is read with it. If it is missing, this is the place to say so.
    import google.protobuf  # noqa: F401

    refused: list[str] = []
    accept = {"Accept": ACCEPT}
    old = _endpoint("SOURCE", source, requests, options.source_bearer_token_file, accept)
    new = _endpoint("--to", options.target, requests, requests.bearer_token_file)
    found = copies(old)
    # Asked for before anything is copied, so that a second run continues the first.
    held = [] if options.replace else [dict(group.labels) for group in new.groups()]
    there = [copy for copy in found if copy.group in held]
    wanted = [copy for copy in found if copy not in there and not copy.is_empty_failure]
    copied = wanted if options.dry_run else _push(new, wanted, refused)
    done = "would copy" if options.dry_run else "copied"
    metrics = sum(copy.metrics for copy in copied)
    click.echo(f"{done} {counted(len(copied), 'group')}, {counted(metrics, 'metric')}")
    if there:
        click.echo(
            f"kept {counted(len(there), 'group')} of the new gateway; --replace replaces them"
        )
    for line in (*refused, *_not_copied(found, copied)):
        click.echo(line)
    sys.exit(REJECTED if refused else 0)


def _endpoint(
    argument: str,
    address: str,
    requests: Requests,
    token_file: str | None,
    headers: dict[str, str] | None = None,
) -> PushGateway:
    limit = requests.timeout or _DEFAULT_TIMEOUT
    try:
        return PushGateway(
            address,
            job="import",
            headers=headers,
            bearer_token_file=token_file,
            ca_file=requests.ca_file,
            verify=not requests.insecure,
            deadline=limit,
            read_timeout=limit,
            retry=Retry() if requests.retries is None else requests.retries,
            properties=False,
        )
    except ConfigurationError as error:
        error.comes_from(argument)
        raise


def _push(target: PushGateway, wanted: Sequence[Copy], refused: list[str]) -> list[Copy]:
    """Push *wanted* and return what was taken; for each other group, add a line to *refused*."""
    copied: list[Copy] = []
    bar: AbstractContextManager[Iterable[Copy]] = nullcontext(wanted)
    if sys.stderr.isatty():
        label = f"Copying {counted(len(wanted), 'group')}"
        bar = click.progressbar(wanted, label=label, file=sys.stderr)
    with target, bar as groups:
        for copy in groups:
            try:
                put(target, copy)
            except PushRejectedError as error:
                # About this group only; any other failure would meet the next group, too.
                why = error.body.decode(errors="replace").strip()
                refused.append(f"refused {copy.labels}: {why}")
            except PushgatewayError as error:
                error.add_note(
                    f"{len(copied)} of {counted(len(wanted), 'group')} were copied; start the same "
                    "command again for the others."
                )
                raise
            else:
                copied.append(copy)
    return copied


def _not_copied(found: Sequence[Copy], copied: Sequence[Copy]) -> Iterator[str]:
    """Yield a line for everything that was not copied, apart from refused groups."""
    for copy in found:
        if copy.is_empty_failure:
            yield f"not copied {copy.labels}: all pushes to it have failed"
    for copy in copied:
        for name in sorted({*copy.missing}):
            count = copy.missing.count(name)
            yield f"not copied, of {copy.labels}: {count} of {name}, which the scrape did not have"
        if not copy.last_push_successful:
            yield f"not copied: that the last push to {copy.labels} failed"
    if copied:
        yield (
            "not copied: push times, which are those of the import; the file of the old gateway "
            "(--persistence.file) has them, see docs/migration.md"
        )

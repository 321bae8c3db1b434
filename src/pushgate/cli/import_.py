"""``pushgate import``: the groups of a running Go Pushgateway into a running Pushgate."""

import logging
import sys
from collections.abc import Iterator, Sequence, Set as AbstractSet
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from pushgate.cli.messages import REJECTED, failures_reported
from pushgate.errors import PushgatewayError, PushRejectedError
from pushgate.migration.running import ACCEPT, Copy, Endpoint, copies, label_set

_FILE = "the file of the old gateway (--persistence.file) has them, see docs/migration.md"


@click.command("import")
@click.argument("source")
@click.option(
    "--to",
    "target",
    default="localhost:9091",
    show_default=True,
    help="The new gateway: host:port or URL, perhaps with user:password@.",
)
@click.option("--dry-run", is_flag=True, help="Push nothing; say what would be.")
@click.option(
    "--replace",
    is_flag=True,
    help="Replace groups that the new gateway has; without, they stay as they are.",
)
@click.option(
    "--source-bearer-token-file", type=click.Path(), help="File that holds the token for SOURCE."
)
@click.option(
    "--bearer-token-file", type=click.Path(), help="File that holds the token for the new gateway."
)
@click.option("--ca-file", type=click.Path(), help="Authorities to trust, as PEM.")
@click.option("--insecure", is_flag=True, help="Do not verify certificates.")
@click.option(
    "--timeout",
    type=float,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="What a request may take with all its attempts.",
)
@click.option(
    "--retries", type=int, default=3, show_default=True, help="How often a request is tried again."
)
def import_groups(
    source: str, target: str, *, dry_run: bool, replace: bool, **options: Any
) -> None:
    """Copy all groups of the gateway SOURCE, such as http://old-gateway:9091.

    SOURCE keeps them. A group arrives with all its metrics, but with the time of the import
    as its push time.
    """
    logging.basicConfig(format="pushgate: %(message)s", level=logging.WARNING)
    with failures_reported():
        old = _endpoint(source, options, options["source_bearer_token_file"], read=True)
        new = _endpoint(target, options, options["bearer_token_file"], read=False)
        found, no_scrape = copies(old)
        held = frozenset() if replace else new.groups_held()
        outcome = _sorted_out(found, held, no_scrape)
        if dry_run:
            outcome.copied.extend(outcome.wanted)
        else:
            _push(new, outcome)
    for line in _summary(outcome, "would copy" if dry_run else "copied"):
        click.echo(line)
    sys.exit(REJECTED if outcome.refused else 0)


class Outcome(NamedTuple):
    """What is to become of each group, and then what came of it."""

    no_scrape: str
    wanted: list[Copy]
    kept: list[Copy]
    failures: list[Copy]
    copied: list[Copy]
    refused: list[tuple[Copy, PushRejectedError]]


def _sorted_out(
    found: Sequence[Copy], held: AbstractSet[frozenset[tuple[str, str]]], no_scrape: str
) -> Outcome:
    outcome = Outcome(no_scrape, [], [], [], [], [])
    for copy in found:
        if frozenset(copy.group.items()) in held:
            outcome.kept.append(copy)
        elif copy.is_empty_failure:
            outcome.failures.append(copy)
        else:
            outcome.wanted.append(copy)
    return outcome


def _endpoint(address: str, options: Any, token_file: str | None, *, read: bool) -> Endpoint:
    return Endpoint(
        address,
        job="import",
        headers={"Accept": ACCEPT} if read else None,
        bearer_token_file=token_file,
        ca_file=options["ca_file"],
        verify=not options["insecure"],
        deadline=options["timeout"],
        read_timeout=options["timeout"],
        retry=options["retries"],
        properties=False,
    )


def _push(target: Endpoint, outcome: Outcome) -> None:
    """Push what is wanted; a group that is refused does not keep the others back."""
    with target, _progress(outcome.wanted) as groups:
        for copy in groups:
            try:
                target.put(copy.group, copy.body)
            except PushRejectedError as error:
                outcome.refused.append((copy, error))
            except PushgatewayError as error:
                error.add_note(
                    f"{len(outcome.copied)} of {len(outcome.wanted)} groups were copied; "
                    "start the same command again for the others."
                )
                raise
            else:
                outcome.copied.append(copy)


@contextmanager
def _progress(wanted: Sequence[Copy]) -> Iterator[Iterator[Copy]]:
    if not sys.stderr.isatty():
        yield iter(wanted)
        return
    label = f"Copying {_count(len(wanted), 'group')}"
    with click.progressbar(wanted, label=label, file=sys.stderr) as bar:
        yield iter(bar)


def _summary(outcome: Outcome, done: str) -> Iterator[str]:
    """Yield what was copied, line by line, and what was not, and why."""
    copied = outcome.copied
    families = _count(sum(copy.families for copy in copied), "famil", "y", "ies")
    metrics = _count(sum(copy.metrics for copy in copied), "metric")
    yield f"{done} {_count(len(copied), 'group')} with {families}, {metrics}"
    if outcome.kept:
        yield (
            f"kept {_count(len(outcome.kept), 'group')} that the new gateway has already; "
            "--replace replaces what it has"
        )
    for copy, error in outcome.refused:
        yield f"refused {label_set(copy.group)}: {error.body.decode(errors='replace').strip()}"
    for copy in outcome.failures:
        yield f"not copied {label_set(copy.group)}: all pushes to it have failed"
    if outcome.no_scrape:
        yield f"without native histograms, exemplars and creation times: {outcome.no_scrape}"
    for copy in copied:
        for what in copy.lost:
            yield f"not copied, of {label_set(copy.group)}: {what}"
    if copied:
        yield f"not copied: push times, which are those of the import; {_FILE}"
    for copy in copied:
        if not copy.last_push_successful:
            yield f"not copied: that the last push to {label_set(copy.group)} failed"


def _count(number: int, noun: str, one: str = "", many: str = "s") -> str:
    return f"{number} {noun}{one if number == 1 else many}"

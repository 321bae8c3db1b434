"""``pushgate push``: metrics in the text format, from files or stdin."""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pushgate.cli.messages import counted, say
from pushgate.cli.options import Connection, FileBody, GroupKey, switch, takes
from pushgate.errors import ConfigurationError, EncodingError

if TYPE_CHECKING:
    from pushgate.client.results import Payload

# Bytes. A smaller push is over before anybody could read a progress bar.
_LARGE = 1 << 20
_STDIN = "-"


@dataclass(kw_only=True, eq=False, repr=False)
class PushOptions:
    """How the input is pushed."""

    add: bool = switch("--add", help="Keep families of other names in the group.")
    merge: bool = switch("--merge", help="Keep all other series in the group.")
    allow_empty: bool = switch(
        "--allow-empty",
        help="Accept an input without metrics, which empties the group unless --add or --merge.",
    )
    dry_run: bool = switch("--dry-run", help="Check and print the body; send nothing.")
    verbose: bool = switch("--verbose", "-v", help="Say what was pushed.")


@click.command()
@takes(connection=Connection, group=GroupKey, body=FileBody, options=PushOptions)
@click.argument("files", nargs=-1, type=click.Path(), metavar="[FILE]...")
def push(
    files: tuple[str, ...],
    connection: Connection,
    group: GroupKey,
    body: FileBody,
    options: PushOptions,
) -> None:
    """Push metrics in the text format, from files or stdin.

    The group then holds exactly these metrics; with --add, families of other names stay,
    and with --merge, all other series.
    A file that ends in "# EOF" is read as OpenMetrics.
    """
    from pushgate.cli.configuration import gateway_for
    from pushgate.cli.metrics_text import joined
    from pushgate.client.results import TEXT_TYPE, Payload

    if options.add and options.merge:
        raise ConfigurationError("--add and --merge exclude each other.")
    gateway = gateway_for(connection, group, compression=body.compression)
    texts = [
        (source, body.read(data, source, gateway.grouping_key))
        for source, data in map(_read, files or (_STDIN,))
    ]
    text = joined(texts)
    if not text.series and not options.allow_empty:
        raise EncodingError(
            f"no metrics in {', '.join(source for source, _ in texts)};"
            " --allow-empty pushes an empty body"
        )
    payload = Payload(text.body, TEXT_TYPE, len(text.types), text.series)
    if options.dry_run:
        method = "PATCH" if options.merge else "POST" if options.add else "PUT"
        say(f"would {method} to {gateway.url}: {_size_of(payload)}")
        click.echo(payload.body, nl=False)
        return
    bar: AbstractContextManager[Any] = nullcontext()
    if len(payload.body) >= _LARGE and sys.stderr.isatty():
        label = f"Pushing {len(payload.body) >> 20} MiB"
        bar = click.progressbar(length=len(payload.body), label=label, file=sys.stderr)
        gateway.watch(bar.update)
    with bar:
        result = gateway.push_payload(payload, add=options.add, merge=options.merge)
    if options.verbose:
        sent = _size_of(payload) if result.status else "nothing, because pushing is disabled"
        say(f"pushed to {result.url}: {sent}, {result.elapsed:.3f} s")


def _read(file: str) -> tuple[str, bytes]:
    """Return name and content of *file*; raise ConfigurationError if it cannot be read."""
    name = "stdin" if file == _STDIN else click.format_filename(file)
    if file == _STDIN and sys.stdin is None:
        raise ConfigurationError("stdin is closed")
    try:
        return name, sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror or error}") from error


def _size_of(payload: "Payload") -> str:
    families = counted(payload.families, "family", "families")
    return f"{families}, {payload.samples} series, {counted(len(payload.body), 'byte')}"

"""``pushgate push``, ``set``, ``delete``, ``status`` and ``url``."""

import re
import sys
from typing import Any, BinaryIO

import click

from pushgate.cli.options import TextMetrics, failures_reported, gateway_of, gateway_options
from pushgate.client import PushGateway, PushResult
from pushgate.errors import EncodingError

# Smaller pushes are over before anybody could read a progress bar.
_LARGE = 1 << 20
_ASSIGNMENT = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})?=([^=}]+)", re.DOTALL)


@click.command()
@gateway_options
@click.option("--add", is_flag=True, help="Replace only the families of the same names.")
@click.option("--strip-timestamps", is_flag=True, help="Push samples without their timestamps.")
@click.argument("file", type=click.File("rb"), default="-")
def push(file: BinaryIO, *, add: bool, strip_timestamps: bool, **options: Any) -> None:
    """Push metrics in the text format from FILE, or from stdin.

    Without --add the group holds exactly these metrics afterwards.
    """
    with failures_reported():
        gateway = gateway_of(options)
        if strip_timestamps:
            gateway = gateway.replace(timestamps="strip")
        _push_showing_progress(gateway, TextMetrics(file.read()), add=add)


def _push_showing_progress(gateway: PushGateway, metrics: TextMetrics, *, add: bool) -> PushResult:
    send = gateway.push_add if add else gateway.push
    size = len(gateway.render(metrics).body) if sys.stderr.isatty() else 0
    if size < _LARGE:
        return send(metrics)
    with click.progressbar(length=size, label=f"Pushing {size >> 20} MiB", file=sys.stderr) as bar:
        gateway.watch(bar.update)
        return send(metrics)


@click.command("set")
@gateway_options
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE…")
def set_values(values: tuple[str, ...], **options: Any) -> None:
    """Set gauges, such as rows=3 or 'rows{table="a"}=3'; other metrics of the group stay."""
    with failures_reported():
        gateway_of(options).push_add(TextMetrics(_gauges(values).encode()))


def _gauges(values: tuple[str, ...]) -> str:
    lines: dict[str, list[str]] = {}
    for value in values:
        match = _ASSIGNMENT.fullmatch(value)
        if match is None:
            raise EncodingError(f"expecting name=value, not {value!r}")
        name, labels, number = match.groups(default="")
        lines.setdefault(name, []).append(f"{name}{labels} {number}\n")
    return "".join(f"# TYPE {name} gauge\n{''.join(each)}" for name, each in lines.items())


@click.command()
@gateway_options
def delete(**options: Any) -> None:
    """Delete the group, with all its metrics."""
    with failures_reported():
        gateway_of(options).delete()


@click.command()
@gateway_options
@click.argument("family", required=False)
def status(family: str | None, **options: Any) -> None:
    """Show version and groups of the gateway; with FAMILY only the groups that have it."""
    with failures_reported():
        gateway = gateway_of(options, default_job="status")  # it is not asked about one
        about = gateway.status()
        click.echo(f"version {about.version or 'unknown'}, started {about.start_time}")
        for group in gateway.groups():
            if family is None or family in group.families:
                labels = ",".join(f'{name}="{value}"' for name, value in group.labels.items())
                state = "" if group.last_push_successful else "  (last push failed)"
                click.echo(f"{{{labels}}} {' '.join(group.families)}{state}")


@click.command()
@gateway_options
def url(**options: Any) -> None:
    """Print the URL of the group, for use with curl."""
    with failures_reported():
        click.echo(gateway_of(options).url)

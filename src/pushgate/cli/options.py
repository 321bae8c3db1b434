"""What the client commands share: options, exit statuses, metrics in text."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pushgate.client import PushGateway
from pushgate.errors import (
    ConfigurationError,
    EncodingError,
    PushAuthError,
    PushConnectionError,
    PushgatewayError,
    PushHTTPError,
    PushServerError,
)
from pushgate.properties import default, set_system_property

_F = TypeVar("_F", bound=Callable[..., Any])
USAGE, REJECTED, UNREACHABLE, UNAUTHORIZED = 2, 3, 4, 5
# The first class that fits counts.
_STATUSES: Mapping[type[PushgatewayError], int] = {
    ConfigurationError: USAGE,
    PushAuthError: UNAUTHORIZED,
    PushConnectionError: UNREACHABLE,
    PushServerError: UNREACHABLE,
    PushHTTPError: REJECTED,
    EncodingError: REJECTED,
    PushgatewayError: REJECTED,
}


def exit_status(error: PushgatewayError) -> int:
    """Return the exit status that stands for *error*."""
    return next(status for kind, status in _STATUSES.items() if isinstance(error, kind))


def report(error: Exception) -> None:
    """Write *error* to stderr, with what is known about where it comes from."""
    for line in (str(error), *getattr(error, "__notes__", ())):
        click.echo(f"pushgate: {line}", err=True)


@contextmanager
def failures_reported() -> Iterator[None]:
    """End the program with the fitting exit status if a push fails."""
    try:
        yield
    except PushgatewayError as error:
        report(error)
        sys.exit(exit_status(error))


def _pairs(
    context: click.Context,  # noqa: ARG001  click's signature
    parameter: click.Parameter,  # noqa: ARG001
    values: tuple[str, ...],
) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for key, separator, _ in pairs:
        if not separator or not key:
            raise click.BadParameter(f"expecting name=value, not {key!r}")
    return {key: value for key, _, value in pairs}


_OPTIONS = (
    click.option("--address", "-a", help="Gateway: host:port or URL.  [default: localhost:9091]"),
    click.option("--job", "-j", help="Job of the group.  [run: the name of COMMAND]"),
    click.option("--group", "-g", multiple=True, callback=_pairs, metavar="NAME=VALUE",
                 help="A further label of the group; repeatable."),
    click.option("--instance", help="instance label: ip, hostname, fqdn, or a text."),
    click.option("--timeout", type=float, metavar="SECONDS",
                 help="What a push may take with all its attempts.  [default: 30]"),
    click.option("--retries", type=int, help="How often a push is tried again.  [default: 3]"),
    click.option("--format", type=click.Choice(["auto", "protobuf", "text"])),
    click.option("--compression", type=click.Choice(["gzip", "snappy"])),
    click.option("--bearer-token-file", type=click.Path(), help="File that holds the token."),
    click.option("--ca-file", type=click.Path(), help="Authorities to trust, as PEM."),
    click.option("--insecure", is_flag=True, help="Do not verify the gateway's certificate."),
    click.option("--define", "-D", multiple=True, callback=_pairs, metavar="KEY=VALUE",
                 help="Set a property, as in prometheus.properties; repeatable."),
)  # fmt: skip
_NAMES = {
    "address": "address",
    "job": "job",
    "instance": "instance",
    "timeout": "deadline",
    "retries": "retry",
    "format": "format",
    "compression": "compression",
    "bearer_token_file": "bearer_token_file",
    "ca_file": "ca_file",
}


def gateway_options(command: _F) -> _F:
    """Give *command* the options that :func:`gateway_of` understands."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def gateway_of(options: Mapping[str, Any], default_job: str | None = None) -> PushGateway:
    """Return the gateway that the command line and the configuration name.

    Args:
        options: As click parsed them.
        default_job: The job, if neither names one.

    Raises:
        ConfigurationError: As :class:`PushGateway`, or there is no job.
    """
    logging.basicConfig(format="pushgate: %(message)s", level=logging.WARNING)
    for key, value in options["define"].items():
        set_system_property(key, value)
    if default_job is None and options["job"] is None and default().pushgateway.job is None:
        raise ConfigurationError("Which job? Name it with --job.", key="job")
    given = {
        name: options[option] for option, name in _NAMES.items() if options[option] is not None
    }
    if options["group"]:
        given["grouping_key"] = options["group"]
    if options["insecure"]:
        given["verify"] = False
    return PushGateway(**{"job": default_job, **given})


class TextMetrics:
    """Metrics in the text format, as a collector.

    Takes what a gateway refuses though it is clear: CRLF, a byte order mark, a missing
    last line feed. With ``# EOF`` at the end it is read as OpenMetrics.

    Raises:
        EncodingError: The text breaks the format.
    """

    def __init__(self, data: bytes) -> None:
        try:
            text = data.decode("utf-8-sig").replace("\r\n", "\n").rstrip() + "\n"
            parse = openmetrics if text.endswith("# EOF\n") else text_string_to_metric_families
            self._metrics = list(parse(text))
        except ValueError as error:
            raise EncodingError(f"This is not the Prometheus text format: {error}") from error

    def collect(self) -> list[Metric]:
        """Return the metrics."""
        return self._metrics

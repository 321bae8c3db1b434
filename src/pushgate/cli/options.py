"""The options that several commands share, each declared once.

A dataclass is a set of options: a field is the flag, its help line, and the typed value
that the command gets. :func:`takes` gives a command the sets that mean something for it.
The dataclasses are neither frozen nor comparable: compiling these methods takes half a
millisecond for each, and a command that wraps a job waits for it.
"""

from collections.abc import Callable, Iterable, Mapping, Set as AbstractSet
from dataclasses import dataclass, field, fields
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import click

from pushgate.model.duration import parse_duration

if TYPE_CHECKING:
    from pushgate.cli.metrics_text import MetricsText

    _Seconds = click.ParamType[float]
else:
    _Seconds = click.ParamType  # which is generic from click 8.4 on

Pairs = Mapping[str, str]


class Duration(_Seconds):
    """Seconds above 0, written as ``30``, ``1.5``, ``90s``, ``2h``, ``1d12h``."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            try:
                seconds = parse_duration(value) / 1e9
            except ValueError:
                self.fail(f"{value!r} is not a duration such as 90, 90s, 15m, 2h or 1d", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a time above 0", param, ctx)
        return seconds


def option(*flags: str, default: Any = None, **attributes: Any) -> Any:
    """Return a dataclass field that is the click option *flags*."""
    return field(default=default, metadata={"option": (flags, {"default": default, **attributes})})


def switch(*flags: str, help: str) -> Any:  # noqa: A002  click's name for it
    """Return a dataclass field that is False unless one of *flags* is there."""
    return option(*flags, default=False, is_flag=True, help=help)


def takes(
    help: Mapping[str, str] = MappingProxyType({}),  # noqa: A002  click's name for it
    /,
    **sets: type,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of *sets*: a parameter's name and its dataclass for each.

    *help* replaces the help lines of options that have another default in this command.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(**values: Any) -> Any:
            bundles = {
                name: kind(**{each.name: values.pop(each.name) for each in fields(kind)})
                for name, kind in sets.items()
            }
            return function(**bundles, **values)

        command: Callable[..., Any] = call
        # The decorator that is applied last is the first in the help text.
        for each in reversed([each for kind in sets.values() for each in fields(kind)]):
            flags, attributes = each.metadata["option"]
            attributes = attributes | {"help": help.get(each.name, attributes["help"])}
            command = click.option(*flags, each.name, **attributes)(command)
        return command

    return decorate


def pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Pairs:
    """Return ``NAME=VALUE`` *values* as a mapping; the last of equal names wins."""
    found = [value.partition("=") for value in values]
    for name, separator, _ in found:
        if not separator or not name:
            raise click.BadParameter(f"expecting name=value, not {name!r}", context, parameter)
    return {name: value for name, _, value in found}


def defines(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Pairs:
    """Return the properties in *values* on top of those before the command's name."""
    return {**(context.obj or {}), **pairs(context, parameter, values)}


def pairs_option(
    *flags: str,
    help: str,  # noqa: A002  click's name for it
    metavar: str = "NAME=VALUE",
    callback: Callable[..., Pairs] = pairs,
) -> Any:
    """Return a dataclass field that is a mapping; each of *flags* adds an entry to it."""
    return option(*flags, default=(), multiple=True, callback=callback, metavar=metavar, help=help)


@dataclass(kw_only=True, eq=False, repr=False)
class Target:
    """The gateway."""

    address: str | None = option(
        "--address", "-a", help="Gateway: host:port or URL.  [default: localhost:9091]"
    )
    define: Pairs = pairs_option(
        "--define",
        "-D",
        callback=defines,
        metavar="KEY=VALUE",
        help="Set a property, as in prometheus.properties; repeatable.",
    )


@dataclass(kw_only=True, eq=False, repr=False)
class Requests:
    """Token, TLS and limits of requests."""

    timeout: float | None = option(
        "--timeout",
        type=Duration(),
        help="Limit for the request with all its retries.  [default: 30s]",
    )
    retries: int | None = option(
        "--retries", type=click.IntRange(min=0), help="How often to retry.  [default: 3]"
    )
    bearer_token_file: str | None = option(
        "--bearer-token-file", type=click.Path(), help="File with the bearer token."
    )
    ca_file: str | None = option(
        "--ca-file", type=click.Path(), help="Certificate authorities to trust, as PEM."
    )
    insecure: bool = switch("--insecure", help="Do not verify the certificate of the gateway.")


@dataclass(kw_only=True, eq=False, repr=False)
class Connection(Requests, Target):
    """The gateway, credentials, TLS and limits."""

    user: str | None = option("--user", help="User for basic authentication.")
    password_file: str | None = option(
        "--password-file", type=click.Path(), help="File with the password of --user."
    )


@dataclass(kw_only=True, eq=False, repr=False)
class GroupKey:
    """The grouping key."""

    job: str | None = option("--job", "-j", help="Job of the group.")
    labels: Pairs = pairs_option("--group", "-g", help="Another label of the group; repeatable.")
    instance: str | None = option(
        "--instance", help="Label instance of the group: ip, hostname, fqdn, or any text."
    )


@dataclass(kw_only=True, eq=False, repr=False)
class Body:
    """How metrics are sent."""

    on_label_clash: Literal["error", "allow"] = option(
        "--on-label-clash",
        default="error",
        type=click.Choice(["error", "allow"]),
        help="What to do if a metric has a label of the group: refuse it, or let the gateway"
        " overwrite the label.  [default: error]",
    )
    compression: Literal["gzip", "snappy"] | None = option(
        "--compression", type=click.Choice(["gzip", "snappy"]), help="Compress the body."
    )

    def reserved_labels(self, grouping_key: Iterable[str]) -> AbstractSet[str]:
        """Return the labels that no metric may have in a group with *grouping_key*."""
        return {"job", *grouping_key} if self.on_label_clash == "error" else frozenset()


@dataclass(kw_only=True, eq=False, repr=False)
class FileBody(Body):
    """How metrics that are read from a file are sent."""

    strip_timestamps: bool = switch("--strip-timestamps", help="Remove timestamps of samples.")

    def read(self, data: bytes, source: str, grouping_key: Iterable[str]) -> "MetricsText":
        """Return the metrics in *data*. Errors as for :func:`read_metrics`."""
        from pushgate.cli.metrics_text import read_metrics

        return read_metrics(
            data,
            source,
            group_labels=self.reserved_labels(grouping_key),
            strip_timestamps=self.strip_timestamps,
        )

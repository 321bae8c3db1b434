"""What the calls of a gateway return."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from pushgate.errors import PushgatewayError

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The ``Content-Type`` of the text format."""

PUSH_TIMES = {"push_time_seconds", "push_failure_time_seconds", "push_expected_interval_seconds"}
"""Families that the gateway adds to a group."""


class Payload(NamedTuple):
    """An encoded registry, before compression.

    Attributes:
        body: The encoded metrics.
        content_type: Its ``Content-Type``.
        families: How many metric families it has.
        samples: How many series it has; a histogram counts once per label set.

    Example:
        >>> from pushgate import PushGateway
        >>> PushGateway(format="text").render(names=[]).content_type
        'text/plain; version=0.0.4; charset=utf-8'
    """

    body: bytes
    content_type: str
    families: int = 0
    samples: int = 0

    @property
    def format(self) -> str:
        """``protobuf`` or ``text``."""
        return "text" if self.content_type.startswith("text/") else "protobuf"


class PushResult(NamedTuple):
    """The result of a push.

    Attributes:
        status: The HTTP status; 0 if nothing was sent (disabled, or nothing to push).
        attempts: Number of requests.
        elapsed: Seconds that they took.
        bytes_sent: Size of the body as it was sent last, after compression.
        families: Number of metric families.
        samples: Number of series; a histogram counts once per label set.
        url: The URL of the group.
        format: ``protobuf``, ``text``, or empty for a delete.

    Example:
        >>> result = gateway.push()  # doctest: +SKIP
        >>> f"{result.samples} series in {result.elapsed:.2f} s"  # doctest: +SKIP
        '3 series in 0.01 s'
    """

    status: int
    attempts: int
    elapsed: float
    bytes_sent: int
    families: int
    samples: int
    url: str
    format: str


class GatewayStatus(NamedTuple):
    """Version and configuration of a gateway.

    Attributes:
        version: Such as ``1.11.3``.
        build: Its complete build information.
        flags: Its command line flags.
        start_time: When it started, in RFC 3339.

    Example:
        >>> gateway.status().version  # doctest: +SKIP
        '1.11.3'
    """

    version: str
    build: Mapping[str, str]
    flags: Mapping[str, str]
    start_time: str

    @property
    def keeps_utf8_names(self) -> bool:
        """Whether its scrapes survive UTF-8 names: those of Pushgate do, of Go's from 1.11.0 on."""
        numbers = [int(part) for part in self.version.split(".")[:2] if part.isdecimal()]
        return "pythonVersion" in self.build or numbers >= [1, 11]


class Group(NamedTuple):
    """A group as the gateway holds it.

    Attributes:
        labels: The grouping key, job included.
        last_push_successful: Whether the last push to it was accepted.
        families: The names of its metric families.
        last_push: Time of the last successful push, in seconds since 1970; None if there was none.
        series: How many series it has; a histogram counts once per label set.

    Example:
        >>> [group.labels["job"] for group in gateway.groups()]  # doctest: +SKIP
        ['backup', 'import']
    """

    labels: Mapping[str, str]
    last_push_successful: bool
    families: tuple[str, ...]
    last_push: float | None = None
    series: int = 0


def status_in(body: bytes) -> GatewayStatus:
    """Return the status in the answer of ``/api/v1/status``."""
    with data_in(body) as data:
        # A gateway of another make may leave out parts of it.
        build = data.get("build_information", {})
        return GatewayStatus(
            version=build.get("version", ""),
            build=build,
            flags=data.get("flags", {}),
            start_time=data.get("start_time", ""),
        )


def groups_in(body: bytes) -> tuple[Group, ...]:
    """Return the groups in the answer of ``/api/v1/metrics``."""
    groups: list[Group] = []
    with data_in(body) as entries:
        for entry in entries or ():  # the Go server writes an empty list as null
            # Families are keys beside the labels; what is no family has no metrics.
            families = {k: v for k, v in entry.items() if isinstance(v, dict) and "metrics" in v}
            pushed = families.get("push_time_seconds", {"metrics": []})["metrics"]
            counts = [len(v["metrics"]) for k, v in families.items() if k not in PUSH_TIMES]
            group = Group(
                labels=entry["labels"],
                last_push_successful=bool(entry.get("last_push_successful", True)),
                families=tuple(sorted(families)),
                # A group whose pushes have all failed has the time 0.
                last_push=float(pushed[0]["value"]) or None if pushed else None,
                series=sum(counts),
            )
            groups.append(group)
    return tuple(groups)


@contextmanager
def data_in(body: bytes) -> Iterator[Any]:
    """Yield the data in a JSON answer; an error in the block means that it is another answer.

    Raises:
        PushgatewayError: *body* is not what a Pushgateway answers.
    """
    import json  # not at the top: a push that succeeds needs none

    try:
        yield json.loads(body)["data"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PushgatewayError("The answer is not what a Pushgateway answers.") from error

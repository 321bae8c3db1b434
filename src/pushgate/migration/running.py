"""Copying the groups of a running gateway into another one.

The JSON listing says which metrics belong to which group; a protobuf scrape has what the
listing does not say: native histograms, exemplars, created timestamps.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pushgate.client import protobuf
from pushgate.client.address import push_url
from pushgate.client.delivery import deliver
from pushgate.client.gateway import PushGateway
from pushgate.client.results import Payload
from pushgate.errors import PushgatewayError, PushHTTPError
from pushgate.formats.values import encoded, packed
from pushgate.formats.wire import (
    append_bytes,
    append_delimited,
    append_text,
    append_uint,
    read_fields,
    read_varint,
)
from pushgate.model.shape import MetricType

ACCEPT = f"{protobuf.CONTENT_TYPE}; escaping=allow-utf-8"
_PUSH_TIME = "push_time_seconds"
_TIMES = {_PUSH_TIME, "push_failure_time_seconds"}
_Labels = frozenset[tuple[str, str]]
_Scraped = Mapping[tuple[str, _Labels], bytes]


class Endpoint(PushGateway):
    """A gateway of which all groups are read or written, whatever its job is."""

    def listing(self) -> list[dict[str, Any]]:
        """Return the groups as ``/api/v1/metrics`` lists them.

        Raises:
            PushgatewayError: they can't be read; the message says why.
        """
        try:
            groups = json.loads(self._read("/api/v1/metrics", None))["data"]
            return [*groups] if groups else []
        except (ValueError, KeyError, TypeError) as error:
            raise self.not_a_gateway() from error

    def not_a_gateway(self) -> PushgatewayError:
        """Return the error that this is no gateway."""
        return PushgatewayError(
            f"The answer of {self._address.base}/api/v1/metrics is not what a "
            "Pushgateway answers; is the address right?"
        )

    def groups_held(self) -> set[frozenset[tuple[str, str]]]:
        """Return the labels of all groups. Errors as for :meth:`listing`."""
        return {frozenset(_group_of(entry).items()) for entry in self.listing()}

    def scrape(self) -> bytes:
        """Return an exposition, in protobuf if the Accept header of this object says so."""
        path = self.status().flags.get("web.telemetry-path") or "/metrics"
        return self._read(path, None)

    def put(self, group: Mapping[str, str], body: bytes) -> None:
        """Replace the *group* by the delimited protobuf *body*. Errors as for a push."""
        labels = dict(group)
        job = labels.pop("job")
        expires = self._expires(None)
        request = self._prepared("PUT", expires, Payload(body, protobuf.CONTENT_TYPE))
        url = push_url(self._address.base, job, labels)
        info = replace(request.info, url=url)
        request = replace(request, info=info, job=job, grouping_key=labels)
        with self._turn("PUT", expires):
            self._run(deliver(request, time.monotonic))


class Copy(NamedTuple):
    """A group as it will be pushed. ``lost`` says in words what it has that is not in *body*."""

    group: Mapping[str, str]
    body: bytes
    families: int
    metrics: int
    last_push_successful: bool
    lost: tuple[str, ...]

    @property
    def is_empty_failure(self) -> bool:
        """Whether all there is to the group is that pushes to it failed."""
        return not self.families and not self.last_push_successful


def copies(source: Endpoint) -> tuple[list[Copy], str]:
    """Return all groups of *source*, and why there was no scrape, empty if there was one.

    Raises:
        PushgatewayError: *source* can't be read.
    """
    listing = source.listing()
    scraped: _Scraped = {}
    reason = ""
    try:
        scraped = _indexed(source.scrape())
    except PushHTTPError as error:
        reason = str(error)
    except ValueError:
        reason = f"The scrape of {source.url.partition('/metrics/')[0]} is not in protobuf."
    try:
        return [_copy(entry, scraped) for entry in listing], reason
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise source.not_a_gateway() from error


def _indexed(exposition: bytes) -> _Scraped:
    """Return the value part of each metric by family name and labels."""
    out: dict[tuple[str, _Labels], bytes] = {}
    at = 0
    while at < len(exposition):
        size, at = read_varint(exposition, at)
        name = ""
        for field in read_fields(exposition[at : at + size]):
            if field.number == 1:
                name = _text(field.value)
            elif field.number == 4 and isinstance(field.value, bytes):
                labels, value = _parted(field.value)
                out[name, labels] = value
        at += size
    return out


def _parted(metric: bytes) -> tuple[_Labels, bytes]:
    """Return the labels of a ``Metric`` message, and what else it says, its timestamp left out."""
    labels, value = [], b""
    for field in read_fields(metric):
        if field.number == 1 and isinstance(field.value, bytes):
            pair = {part.number: _text(part.value) for part in read_fields(field.value)}
            labels.append((pair.get(1, ""), pair.get(2, "")))
        elif field.number != 6:
            value += field.wire
    return frozenset(labels), value


def _text(value: int | bytes) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else ""


def _copy(entry: Mapping[str, Any], scraped: _Scraped) -> Copy:
    group = _group_of(entry)
    body, lost = bytearray(), list[str]()
    families = {
        name: value
        for name, value in sorted(entry.items())
        if isinstance(value, dict) and "metrics" in value and name not in _TIMES
    }
    for name, family in families.items():
        append_delimited(body, _family(name, family, group, scraped, lost))
    return Copy(
        group=group,
        body=bytes(body),
        families=len(families),
        metrics=sum(len(family["metrics"]) for family in families.values()) - len(lost),
        last_push_successful=entry.get("last_push_successful") is not False,
        lost=tuple(lost),
    )


def _group_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of a listed group.

    In the Go server's listing a family called ``labels`` hides them; those of the push
    time are the same, but for an empty instance.
    """
    if not isinstance(entry["labels"].get("metrics"), list):
        return dict(entry["labels"])
    labels: dict[str, str] = entry[_PUSH_TIME]["metrics"][0]["labels"]
    return {name: value for name, value in labels.items() if (name, value) != ("instance", "")}


def _family(
    name: str,
    family: Mapping[str, Any],
    group: Mapping[str, str],
    scraped: _Scraped,
    lost: list[str],
) -> bytes:
    """Return the family as a message; what it can't say of the metrics goes to *lost*."""
    out = bytearray()
    append_text(out, 1, name)
    if family.get("help"):
        append_text(out, 2, family["help"])
    kind = MetricType.__members__.get(family["type"])
    if kind is None:
        lost += [f"{name}: of the unknown type {family['type']}"] * len(family["metrics"])
        return bytes(out)
    append_uint(out, 3, kind)
    for metric in family["metrics"]:
        labels: Mapping[str, str] = metric["labels"]
        value = scraped.get((name, frozenset(labels.items()))) or _listed(kind, metric)
        if value is None:
            lost.append(f"{name}: a {kind.name.lower().replace('_', ' ')} that only a scrape has")
            continue
        append_bytes(out, 4, _labels(labels, group) + value)
    return bytes(out)


def _labels(labels: Mapping[str, str], group: Mapping[str, str]) -> bytes:
    """Return *labels* as fields of a ``Metric``, without those that the group adds."""
    out = bytearray()
    for name, value in sorted(labels.items()):
        if name not in group and (name, value) != ("instance", ""):
            pair = bytearray()
            append_text(pair, 1, name)
            append_text(pair, 2, value)
            append_bytes(out, 1, pair)
    return bytes(out)


def _listed(kind: MetricType, metric: Mapping[str, Any]) -> bytes | None:
    """Return what the listing says of a metric, None if that is not enough."""
    if kind.is_simple:
        return encoded(kind, (), [float(metric["value"])])
    points = metric.get("quantiles" if kind is MetricType.SUMMARY else "buckets", {})
    if kind is MetricType.GAUGE_HISTOGRAM or not isinstance(points, dict):
        return None
    points = dict(sorted(points.items(), key=lambda point: float(point[0])))
    numbers = [*points.values(), metric["sum"], metric["count"]]
    return encoded(kind, packed(points), [float(number) for number in numbers])


def label_set(group: Mapping[str, str]) -> str:
    """Return *group* as a label set."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(group.items())) + "}"

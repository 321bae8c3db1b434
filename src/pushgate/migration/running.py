"""Copies the groups of a running gateway into another one.

The JSON listing of the old gateway says which metrics belong to which group. Their values come
from a scrape in protobuf, because a listing has no native histograms, exemplars and creation
times.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pushgate.client import protobuf
from pushgate.client.address import push_url
from pushgate.client.gateway import PushGateway
from pushgate.client.results import PUSH_TIMES, Payload
from pushgate.errors import InvalidBody, PushgatewayError, PushHTTPError
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import messages
from pushgate.formats.protobuf.wire import delimited
from pushgate.model.quoting import text

# Without allow-utf-8 a server escapes UTF-8 names, and the copies would have other names.
ACCEPT = f"{protobuf.CONTENT_TYPE}; escaping=allow-utf-8"
# The Go server adds it to the metrics of a group without an instance.
_NO_INSTANCE = ("instance", "")

Metrics = Mapping[frozenset[tuple[str, str]], Any]
"""The ``Metric`` messages of a family by their labels."""


class Copy(NamedTuple):
    """A group and the body that pushes it; *missing* names metrics that the scrape lacks."""

    group: Mapping[str, str]
    body: bytes
    metrics: int
    missing: tuple[str, ...]
    last_push_successful: bool

    @property
    def labels(self) -> str:
        return "{" + ",".join(f'{name}="{v}"' for name, v in sorted(self.group.items())) + "}"

    @property
    def is_empty_failure(self) -> bool:
        """Whether no push to the group has ever succeeded."""
        return not self.metrics and not self.missing and not self.last_push_successful


def copies(gateway: PushGateway) -> list[Copy]:
    """Return the groups of *gateway*, whose header ``Accept`` has to be :data:`ACCEPT`.

    Raises:
        PushgatewayError: They cannot be read.
    """
    try:
        listing = json.loads(gateway.read("/api/v1/metrics"))["data"] or []
        # The flag --web.telemetry-path moves the page of the metrics.
        path = gateway.status().flags.get("web.telemetry-path") or "/metrics"
        families = {
            text(family.name): (
                family,
                {
                    frozenset((text(pair.name), text(pair.value)) for pair in metric.label): metric
                    for metric in family.metric
                },
            )
            for family in messages(gateway.read(path))
        }
        return [_copy(entry, families) for entry in listing]
    except PushHTTPError as error:
        error.add_note("Or import the file of the old gateway, see docs/migration.md.")
        raise
    except PushgatewayError:  # such as a ConfigurationError, which is a ValueError, too
        raise
    except (InvalidBody, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PushgatewayError(
            f"The answers of {gateway.prepared('GET').info.base} are not those of a Pushgateway;"
            " is the address right?"
        ) from error


def put(gateway: PushGateway, copy: Copy) -> None:
    """Replace the group of *copy*; the group of *gateway* is not used. Errors as for a push."""
    labels = dict(copy.group)
    job = labels.pop("job")
    # One gateway object for all groups keeps its connection, so the URL is that of each group.
    request = gateway.prepared("PUT", Payload(copy.body, protobuf.CONTENT_TYPE))
    info = request.info._replace(url=push_url(request.info.base, job, labels))
    gateway.send(request._replace(info=info, job=job, grouping_key=labels))


def _copy(entry: Mapping[str, Any], families: Mapping[str, tuple[Any, Metrics]]) -> Copy:
    """Return the group of *entry* in the listing, its values taken from the scraped *families*."""
    group: dict[str, str] = dict(entry["labels"])
    if isinstance(group.get("metrics"), list):
        # In the Go server's listing a family called ``labels`` hides those of the group. The
        # labels of its push time are the same, apart from an empty instance.
        labels = entry["push_time_seconds"]["metrics"][0]["labels"]
        group = {name: value for name, value in labels.items() if (name, value) != _NO_INSTANCE}
    body, count, missing = bytearray(), 0, list[str]()
    for name, listed in sorted(entry.items()):
        if name in PUSH_TIMES or not isinstance(listed, dict) or "metrics" not in listed:
            continue
        scraped, metrics = families.get(name, (None, {}))
        family = message_class("MetricFamily")()
        for metric in listed["metrics"]:
            found = metrics.get(frozenset(metric["labels"].items()))
            if found is None:
                missing.append(name)
            else:
                family.metric.append(_without_labels(found, group))
        if family.metric:
            family.name, family.type = scraped.name, scraped.type
            if scraped.help:
                family.help = scraped.help
            count += len(family.metric)
            body += delimited(family.SerializeToString())
    success = entry.get("last_push_successful") is not False
    return Copy(group, bytes(body), count, tuple(missing), success)


def _without_labels(metric: Any, group: Mapping[str, str]) -> Any:
    """Return *metric* as it was pushed: without a timestamp and the labels of its *group*."""
    out = type(metric)()
    out.CopyFrom(metric)
    # The gateway refuses pushed timestamps, and adds the labels of the group by itself.
    out.ClearField("timestamp_ms")
    out.ClearField("label")
    for pair in metric.label:
        name, value = text(pair.name), text(pair.value)
        if name not in group and (name, value) != _NO_INSTANCE:
            out.label.append(pair)
    return out

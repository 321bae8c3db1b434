"""Copies the groups of a running gateway into another one.

The JSON listing of the old gateway says which metrics belong to which group. Their values come
from a scrape in protobuf, because a listing has no native histograms, exemplars and creation
times.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pushgate.client import protobuf
from pushgate.client.address import push_url
from pushgate.client.delivery import deliver
from pushgate.client.gateway import PushGateway
from pushgate.client.results import Payload
from pushgate.errors import InvalidBody, PushgatewayError, PushHTTPError
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import messages
from pushgate.formats.protobuf.wire import append_delimited
from pushgate.model.quoting import text

ACCEPT = f"{protobuf.CONTENT_TYPE}; escaping=allow-utf-8"
_PUSH_TIME = "push_time_seconds"
_TIMES = {_PUSH_TIME, "push_failure_time_seconds", "push_expected_interval_seconds"}

Metrics = Mapping[frozenset[tuple[str, str]], Any]
"""The ``Metric`` messages of a family by their labels."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A group and the body that pushes it; *missing* names metrics that the scrape lacks."""

    group: Mapping[str, str]
    body: bytes
    metrics: int
    missing: tuple[str, ...]
    last_push_successful: bool

    @property
    def labels(self) -> str:
        """The group as a label set, for messages."""
        return "{" + ",".join(f'{name}="{v}"' for name, v in sorted(self.group.items())) + "}"

    @property
    def is_empty_failure(self) -> bool:
        """Whether no push to the group has ever succeeded."""
        return not self.metrics and not self.missing and not self.last_push_successful


class Endpoint(PushGateway):
    """A gateway of which any group can be read or replaced."""

    def copies(self) -> list[Copy]:
        """Return its groups, ready to be pushed. The headers must have ``Accept`` :data:`ACCEPT`.

        Raises:
            PushgatewayError: they can't be read.
        """
        try:
            listing = json.loads(self._read("/api/v1/metrics", None))["data"] or []
            path = self.status().flags.get("web.telemetry-path") or "/metrics"
            families = {
                text(family.name): (family, {_labels(metric): metric for metric in family.metric})
                for family in messages(self._read(path, None))
            }
            return [_copy(entry, families) for entry in listing]
        except PushHTTPError as error:
            error.add_note("Or import the file of the old gateway, see docs/migration.md.")
            raise
        except (InvalidBody, ValueError, KeyError, TypeError, AttributeError) as error:
            raise PushgatewayError(
                f"The answers of {self._address.base} are not those of a Pushgateway; is the "
                "address right?"
            ) from error

    def put(self, group: Mapping[str, str], body: bytes) -> None:
        """Replace *group* by the delimited protobuf *body*; errors as for a push."""
        labels = dict(group)
        job = labels.pop("job")
        expires = self._expires(None)
        request = self._prepared("PUT", expires, Payload(body, protobuf.CONTENT_TYPE))
        info = replace(request.info, url=push_url(self._address.base, job, labels))
        request = replace(request, info=info, job=job, grouping_key=labels)
        with self._turn("PUT", expires):
            self._run(deliver(request, time.monotonic))


def _labels(metric: Any) -> frozenset[tuple[str, str]]:
    return frozenset((text(pair.name), text(pair.value)) for pair in metric.label)


def _copy(entry: Mapping[str, Any], families: Mapping[str, tuple[Any, Metrics]]) -> Copy:
    """Return the group of *entry* in the listing, its values taken from the scraped *families*."""
    group = _group_of(entry)
    body, count, missing = bytearray(), 0, list[str]()
    for name, listed in sorted(entry.items()):
        if name in _TIMES or not isinstance(listed, dict) or "metrics" not in listed:
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
            append_delimited(body, family.SerializeToString())
    success = entry.get("last_push_successful") is not False
    return Copy(group, bytes(body), count, tuple(missing), success)


def _without_labels(metric: Any, group: Mapping[str, str]) -> Any:
    """Return *metric* as it was pushed: without a timestamp and the labels of its *group*."""
    out = type(metric)()
    out.CopyFrom(metric)
    out.ClearField("timestamp_ms")
    out.ClearField("label")
    for pair in metric.label:
        name, value = text(pair.name), text(pair.value)
        if name not in group and (name, value) != ("instance", ""):
            out.label.append(pair)
    return out


def _group_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of a listed group.

    In the Go server's listing a family called ``labels`` hides them. The labels of its push
    time are the same, apart from an empty instance.
    """
    if not isinstance(entry["labels"].get("metrics"), list):
        return dict(entry["labels"])
    labels: dict[str, str] = entry[_PUSH_TIME]["metrics"][0]["labels"]
    return {name: value for name, value in labels.items() if (name, value) != ("instance", "")}

"""What is copied of a group, from a listing and a scrape."""

import json
from contextlib import suppress

import httpx2
import pytest
from google.protobuf import text_format
from hypothesis import given, strategies as st

from pushgate import PushGateway
from pushgate.errors import PushgatewayError
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import decode
from pushgate.migration.running import Copy, copies
from tests.delimited import delimited


def listed(**families) -> bytes:
    labels = {"job": "j", "instance": "i"}
    return json.dumps({"data": [{"labels": labels} | families]}).encode()


def family(kind: str, *metrics: dict, **more) -> dict:
    own = {"job": "j", "instance": "i"}
    listed = [metric | {"labels": own | metric.get("labels", {})} for metric in metrics]
    return {"type": kind, "metrics": listed, "time_stamp": "2026-01-01T00:00:00Z"} | more


def scraped(kind: str, *metrics: str, name: str = "m") -> bytes:
    text = f'name: "{name}" type: {kind} ' + " ".join(
        f"metric {{ {metric} }}" for metric in metrics
    )
    return delimited(text_format.Parse(text, message_class("MetricFamily")()))


def copied(listing: bytes, scrape: bytes = b"") -> list[Copy]:
    bodies = {
        "/api/v1/metrics": listing,
        "/api/v1/status": b'{"data": {"flags": {"web.telemetry-path": "/scrape"}}}',
        "/scrape": scrape,
    }
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, content=bodies[request.url.path])
    )
    return copies(PushGateway("old:9091", job="x", transport=transport, properties=False))


OF_GROUP = 'label { name: "job" value: "j" } label { name: "instance" value: "i" }'


def test_a_metric_is_pushed_as_it_was_scraped_without_timestamp_and_labels_of_the_group():
    listing = listed(m=family("GAUGE", {"value": "NaN"}, {"labels": {"a": "b"}, "value": "1"}))
    (copy,) = copied(
        listing,
        scraped(
            "1",
            f"{OF_GROUP} gauge {{ value: nan }}",
            f'label {{ name: "a" value: "b" }} {OF_GROUP} gauge {{ value: 1 }} timestamp_ms: 5',
        ),
    )
    pushed = decode(copy.body)
    assert pushed.shape.families[0].labels == ((), (("a", "b"),))
    assert (pushed.numbers, pushed.timestamped) == (b"NaN 1", False)
    assert (copy.metrics, copy.missing) == (2, ())
    assert copy.group == {"job": "j", "instance": "i"}
    assert copy.labels == '{instance="i",job="j"}'


def test_what_the_scrape_lacks_is_named():
    listing = listed(m=family("GAUGE", {"value": "1"}), n=family("GAUGE", {"value": "1"}))
    (copy,) = copied(listing, scraped("1", f"{OF_GROUP} gauge {{ value: 1 }}", name="n"))
    assert (copy.metrics, copy.missing) == (1, ("m",))
    assert decode(copy.body).shape.names == ("n",)


def test_a_family_called_labels_does_not_hide_the_group():
    """It does in the Go server's listing."""
    times = family("GAUGE", {"labels": {"instance": ""}, "value": "1"})
    listing = listed(labels=family("GAUGE", {"value": "1"}), push_time_seconds=times)
    (copy,) = copied(listing, scraped("1", f"{OF_GROUP} gauge {{ value: 1 }}", name="labels"))
    assert copy.group == {"job": "j"}
    assert copy.metrics == 1


@given(st.binary())
def test_any_bytes_are_a_scrape_or_refused(scrape):
    with suppress(PushgatewayError):
        (copy,) = copied(listed(m=family("GAUGE", {"value": "1"})), scrape)
        assert (copy.metrics, copy.missing) == (0, ("m",))


@pytest.mark.parametrize(
    "answer",
    [
        *(
            b"<html>",
            b"[]",
            b"{}",
            b'{"data": 1}',
            b'{"data": [1]}',
            b'{"data": [{"labels": "x"}]}',
        ),
        b'{"data": [{"labels": {"job": "j"}, "m": {"metrics": [{}]}}]}',
    ],
)
def test_what_is_no_gateway_is_told_from_one(answer):
    with pytest.raises(PushgatewayError, match="is the address right"):
        copied(answer)

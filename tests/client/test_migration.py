"""What is copied of a group, from a listing and a scrape."""

import json

import httpx2
import pytest
from hypothesis import given, strategies as st

from pushgate.errors import PushgatewayError
from pushgate.formats.protobuf import decode
from pushgate.migration.running import Copy, Endpoint, copies
from tests import old_gateway


def listed(**families) -> bytes:
    labels = {"job": "j", "instance": "i"}
    return json.dumps({"data": [{"labels": labels} | families]}).encode()


def family(kind: str, *metrics: dict, **more) -> dict:
    own = {"job": "j", "instance": "i"}
    listed = [metric | {"labels": own | metric.get("labels", {})} for metric in metrics]
    return {"type": kind, "metrics": listed, "time_stamp": "2026-01-01T00:00:00Z"} | more


def copied(listing: bytes, scrape: bytes = b"") -> tuple[list[Copy], str]:
    bodies = {
        "/api/v1/metrics": listing,
        "/api/v1/status": b'{"data": {"flags": {"web.telemetry-path": "/scrape"}}}',
        "/scrape": scrape,
    }
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, content=bodies[request.url.path])
    )
    return copies(Endpoint("old:9091", job="x", transport=transport, properties=False))


def only(listing: bytes, scrape: bytes = b"") -> Copy:
    (copy,), _ = copied(listing, scrape)
    return copy


def test_simple_metrics_come_from_the_listing_without_the_labels_of_the_group():
    copy = only(listed(m=family("GAUGE", {"value": "NaN"}, {"labels": {"a": "b"}, "value": "1"})))
    pushed = decode(copy.body)
    assert pushed.shape.families[0].labels == ((), (("a", "b"),))
    assert pushed.numbers == b"NaN 1"
    assert (copy.families, copy.metrics, copy.lost) == (1, 2, ())
    assert copy.group == {"job": "j", "instance": "i"}


def test_summaries_and_histograms_come_from_the_listing_in_the_order_of_their_bounds():
    quantiles, buckets = {"0.9": "2", "0.5": "1"}, {"+Inf": "3", "1e+06": "2", "9": "1"}
    pushed = decode(
        only(
            listed(
                s=family("SUMMARY", {"quantiles": quantiles, "sum": "4", "count": "5"}),
                h=family("HISTOGRAM", {"buckets": buckets, "sum": "1.5", "count": "3"}),
                f=family("HISTOGRAM", {"buckets": {"1": "0.5"}, "sum": "1", "count": "0.5"}),
            )
        ).body
    )
    assert [f.bounds for f in pushed.shape.families] == [
        (("1",),),
        (("9", "1e+06", "+Inf"),),
        (("0.5", "0.9"),),
    ]
    assert pushed.numbers == b"0.5 1 0.5 1 2 3 1.5 3 1 2 4 5"


def test_what_only_the_scrape_says_comes_from_the_scrape():
    group = listed(
        gauge_histogram=family("GAUGE_HISTOGRAM", {"value": "0"}, help="Up and down"),
        native_floats=family("HISTOGRAM", {"buckets": [], "sum": "3.25", "count": "4.5"}),
    )
    lost = only(group)
    assert lost.lost == (
        "gauge_histogram: a gauge histogram that only a scrape has",
        "native_floats: a histogram that only a scrape has",
    )
    assert (lost.families, lost.metrics) == (2, 0)
    scrape = b""
    for message in old_gateway.families():
        for metric in message.metric:
            metric.label.add(name=b"job", value=b"j")
            metric.label.add(name=b"instance", value=b"i")
        scrape += old_gateway.delimited(message)
    pushed = decode(only(group, scrape).body)
    assert [f.help for f in pushed.shape.families] == ["Up and down", None]
    assert pushed.shape.families[0].labels == ((),)
    assert pushed.numbers == b"2 1.5 3 3.25 4.5"
    assert pushed.details[1]


def test_a_family_called_labels_does_not_hide_the_group():
    """It does in the Go server's listing."""
    times = family("GAUGE", {"labels": {"instance": ""}, "value": "1"})
    copy = only(listed(labels=family("GAUGE", {"value": "1"}), push_time_seconds=times))
    assert copy.group == {"job": "j"}
    assert copy.families == 1


def test_a_type_that_nobody_knows_is_lost():
    copy = only(listed(m=family("17", {"value": "1"})))
    assert copy.lost == ("m: of the unknown type 17",)


def test_a_scrape_in_another_format_is_no_scrape():
    _, reason = copied(listed(), b"# HELP m text\nm 1\n")
    assert reason == "The scrape of http://old:9091 is not in protobuf."


@given(st.binary())
def test_any_bytes_are_a_scrape_or_none(scrape):
    assert only(listed(m=family("GAUGE", {"value": "1"})), scrape).metrics == 1


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
        *(listed(m=family("GAUGE", {})), listed(m=family("GAUGE", {"value": "x"}))),
    ],
)
def test_what_is_no_gateway_is_told_from_one(answer):
    with pytest.raises(PushgatewayError, match="is the address right"):
        copied(answer)

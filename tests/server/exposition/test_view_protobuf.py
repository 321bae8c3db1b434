import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pushgate.formats.protobuf import layout
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import decode, messages
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.names import Escaping
from pushgate.server.exposition.view import ProtobufView
from pushgate.server.store.group import Block, Group
from pushgate.server.telemetry import Family, Sample
from tests.server.pushes import key, pushed

RECORDED = json.loads(
    (Path(__file__).parents[2] / "data" / "protobuf_expositions.json").read_text()
)
OWN = [
    Family(
        FamilyShape("c_total", MetricType.COUNTER, "A counter.", ()),
        [Sample("c_total", (("code", "200"),), 3.0)],
    ),
    Family(
        FamilyShape("s", MetricType.SUMMARY, "A summary.", ()),
        [
            Sample("s", (("method", method), ("quantile", "0.5")), 7.0)
            if suffix == ""
            else Sample(f"s{suffix}", (("method", method),), 8.0)
            for method in ("post", "put")
            for suffix in ("", "_sum", "_count")
        ],
    ),
]


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """A few metrics make many pieces."""
    monkeypatch.setattr(ProtobufView, "at_once", 4)
    monkeypatch.setattr(layout, "METRICS_AT_ONCE", 4)


def exposed(a_view, group: Group) -> dict[str, bytes]:
    found: dict = {}
    for family, piece in a_view.pieces([group]):
        found[family] = found.get(family, b"") + piece
    return {
        family.name: a_view.head(family, len(metrics)) + metrics
        for family, metrics in found.items()
        if metrics
    }


@pytest.mark.parametrize("recorded", RECORDED["expositions"])
def test_pushed_families_are_exposed_byte_for_byte_as_the_reference_does(recorded):
    pushed = decode(base64.b64decode(RECORDED["body"]))
    key = GroupingKey([("job", "j")])
    group = Group(key, (Block(pushed, 1),), pushed_at=1, failed_at=0, since=1)
    got = exposed(ProtobufView(Escaping(recorded["escaping"])), group)
    del got["push_time_seconds"], got["push_failure_time_seconds"]
    assert set(got.values()) == set(map(base64.b64decode, recorded["families"]))


def test_the_push_times_are_among_the_families_of_a_group():
    group = Group(GroupingKey([("job", "j")]), (), pushed_at=1_500_000_000, failed_at=0, since=1)
    got = exposed(ProtobufView(Escaping.UNDERSCORES), group)
    [family] = messages(got["push_time_seconds"])
    assert family.help == b"Last Unix time when changing this group in the Pushgateway succeeded."
    [metric] = family.metric
    labels = {pair.name: pair.value for pair in metric.label}
    assert labels == {b"instance": b"", b"job": b"j"}
    assert metric.gauge.value == 1.5


def test_own_metrics_are_messages_with_their_own_labels_only():
    delimited = ProtobufView(Escaping.UNDERSCORES)
    counter, summary = map(delimited.render_own, OWN)
    (family,) = messages(delimited.head(OWN[0].head, len(counter)) + counter)
    assert (family.name, family.help, family.type) == (b"c_total", b"A counter.", 0)
    metric = message_class("Metric")
    code = {"name": b"code", "value": b"200"}
    assert list(family.metric) == [metric(label=[code], counter={"value": 3})]
    got = message_class("MetricFamily").FromString(summary).metric
    assert [pair.value for one in got for pair in one.label] == [b"post", b"put"]
    assert {str(one.summary) for one in got} == {
        str(
            message_class("Summary")(
                sample_count=8, sample_sum=8, quantile=[{"quantile": 0.5, "value": 7}]
            )
        )
    }


BODIES = st.sampled_from(
    [
        "a 1\nb 2\n",
        "a 3\nb -0\n",
        'a{x="1"} NaN\na{x="2"} 7\na{x="3"} 8\na{x="4"} 9\na{x="5"} +Inf\n',
        '# TYPE h histogram\nh_bucket{le="1"} 3\nh_sum 5\nh_count 6\nb 1\n',
        "# TYPE c counter\nc 1e21\n",
    ]
)


@given(st.lists(st.tuples(st.sampled_from(["i", "instance", "zz"]), BODIES), max_size=12))
def test_groups_that_are_rendered_together_say_what_each_says_alone(sent):
    groups = [
        Group(
            key(f"{at:03d}", **{label: "%b"}),
            (Block(pushed(body), at),),
            pushed_at=at,
            failed_at=0,
            since=at,
        )
        for at, (label, body) in enumerate(sent)
    ]
    one_by_one = [by_name([group]) for group in groups]
    names = {name for metrics in one_by_one for name in metrics}
    assert by_name(groups) == {
        name: b"".join(metrics.get(name, b"") for metrics in one_by_one) for name in names
    }


def by_name(groups: list[Group]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for family, piece in ProtobufView(Escaping.UNDERSCORES).pieces(groups):
        if piece:
            found[family.name] = found.get(family.name, b"") + piece
    return found

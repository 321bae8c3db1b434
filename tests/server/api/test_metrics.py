import asyncio
import base64
import json
import re
from pathlib import Path

import pytest

from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.text import TextReader
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.names import NameRule
from pushgate.model.shape import Pushed, interned
from pushgate.server.api.metrics import groups_as_json
from pushgate.server.http.slow_readers import SlowReaders
from pushgate.server.store.group import Block, Group
from tests.server.http.asgi import Served

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors.json"
TIMES = re.compile(r'(?<="time_stamp":)"[^"]+"|(?<="value":")1\.[0-9.]+e\+09(?=")')
SECOND = 10**9
KEY = GroupingKey([("job", "j")])


def group(pushed: Pushed, **times: int) -> Group:
    at = {"pushed_at": 7 * SECOND, "failed_at": 0, "since": 3 * SECOND} | times
    return Group(KEY, (Block(pushed, 5 * SECOND),), **at)


def in_pieces(*groups: Group) -> list[bytes]:
    async def read() -> list[bytes]:
        return [*groups_as_json(groups, SlowReaders(0))]

    return asyncio.run(read())


def shown(pushed: Pushed, **times: int) -> dict:
    [found] = json.loads(b"".join(in_pieces(group(pushed, **times))))
    return found


def of_text(body: str) -> Pushed:
    return TextReader(NameRule.LEGACY).read(body.encode())


def metric(body: str) -> dict:
    [found] = shown(of_text(body))["x"]["metrics"]
    return found


@pytest.mark.parametrize("kind", ["counter", "gauge", "untyped"])
@pytest.mark.parametrize("number", ["1e+06", "-0", "NaN", "+Inf", "0.5"])
def test_a_simple_metric_is_one_number_in_text(kind, number):
    assert metric(f'# TYPE x {kind}\nx{{l="v"}} {number}\n') == {
        "labels": {"instance": "", "job": "j", "l": "v"},
        "value": number,
    }


def test_a_summary_has_quantiles():
    body = (
        "# TYPE x summary\n" + 'x{quantile="0.9"} 2\nx{quantile="0.5"} 1e6\nx_sum 3\nx_count 1e6\n'
    )
    assert metric(body) == {
        "count": "1000000",
        "labels": {"instance": "", "job": "j"},
        "quantiles": {"0.5": "1e+06", "0.9": "2"},
        "sum": "3",
    }


@pytest.mark.parametrize("kind", ["histogram", "gaugehistogram"])
def test_a_histogram_has_the_buckets_that_were_pushed(kind):
    body = (
        f"# TYPE x {kind}\n"
        'x_bucket{le="1e6"} 2000000\nx_bucket{le="2.5"} 1\nx_sum 3\nx_count 3000000\n'
    )
    assert metric(body) == {
        "buckets": {"1e+06": "2000000", "2.5": "1"},
        "count": "3000000",
        "labels": {"instance": "", "job": "j"},
        "sum": "3",
    }


def test_the_counts_of_a_float_histogram_are_floats():
    body = '# TYPE x histogram\nx_bucket{le="1"} 1.5\nx_bucket{le="2"} 2e6\nx_count 2e6\n'
    found = metric(body)
    assert (found["buckets"], found["count"]) == ({"1": "1.5", "2": "2e+06"}, "2e+06")


def test_keys_stand_in_the_order_of_their_bytes(in_zone):
    in_zone("America/New_York")
    pushed = of_text("# HELP b say <b>\n# TYPE b gauge\nb 1\nZ 2\n")
    assert b"".join(in_pieces(group(pushed))).decode() == (
        '[{"Z":{"time_stamp":"1969-12-31T19:00:05-05:00","type":"UNTYPED","metrics":'
        '[{"labels":{"instance":"","job":"j"},"value":"2"}]},'
        '"b":{"time_stamp":"1969-12-31T19:00:05-05:00","type":"GAUGE",'
        r'"help":"say \u003cb\u003e","metrics":[{"labels":{"instance":"","job":"j"},"value":"1"}]},'
        '"labels":{"job":"j"},"last_push_successful":true,'
        '"push_failure_time_seconds":{"time_stamp":"1969-12-31T19:00:03-05:00","type":"GAUGE",'
        '"help":"Last Unix time when changing this group in the Pushgateway failed.",'
        '"metrics":[{"labels":{"instance":"","job":"j"},"value":"0"}]},'
        '"push_time_seconds":{"time_stamp":"1969-12-31T19:00:07-05:00","type":"GAUGE",'
        '"help":"Last Unix time when changing this group in the Pushgateway succeeded.",'
        '"metrics":[{"labels":{"instance":"","job":"j"},"value":"7"}]}}]'
    )


def test_a_failure_is_shown_until_the_next_success():
    failed = shown(of_text("x 1\n"), failed_at=8 * SECOND)
    assert failed["last_push_successful"] is False
    assert failed["push_failure_time_seconds"]["metrics"][0]["value"] == "8"


def test_a_family_cannot_hide_the_keys_of_the_group():
    found = shown(of_text("labels 1\nlast_push_successful 2\nx 3\n"))
    assert found["labels"] == {"job": "j"}
    assert found["last_push_successful"] is True
    assert "x" in found


def test_a_family_without_metrics_is_shown_empty():
    pushed = Pushed(interned((FamilyShape("x", MetricType.GAUGE, None, ()),)), b"")
    assert shown(pushed)["x"]["metrics"] == []


ALL_KINDS = """# HELP c <help>
# TYPE c counter
c{a="1"} 1
c{a="2"} 2
labels 3
# TYPE h histogram
h_bucket{le="1"} 1
h_count 2
# TYPE s summary
s{quantile="0.5"} 1
s_count 2
"""


def test_a_group_looks_the_same_in_one_piece_and_in_many(monkeypatch):
    shown_group = group(of_text(ALL_KINDS))
    at_once = b"".join(in_pieces(shown_group, shown_group))
    monkeypatch.setattr("pushgate.server.api.metrics._SLOTS_PER_PIECE", 1)
    assert b"".join(in_pieces(shown_group, shown_group)) == at_once


def test_no_groups_are_an_empty_array():
    assert b"".join(in_pieces()) == b"[]"


def test_many_metrics_come_in_many_pieces():
    pushed = of_text("".join(f'x{{i="{i}"}} {i}\n' for i in range(5000)))
    pieces = in_pieces(group(pushed))
    assert max(map(len, pieces)) < 20_000
    [found] = json.loads(b"".join(pieces))
    values = [one["value"] for one in found["x"]["metrics"]]
    assert " ".join(values) == pushed.numbers.decode()


@pytest.mark.parametrize(
    "body",
    [
        "".join(f"m{i} {i}\n" for i in range(5000)),
        "".join(f'# TYPE m{i} summary\nm{i}{{quantile="0.5"}} {i}\n' for i in range(2000)),
        "# TYPE x histogram\n"
        + "".join(f'x_bucket{{le="{i}"}} {i}\n' for i in range(5000))
        + "x_count 5000\n",
        "# TYPE x summary\n"
        + "".join(f'x{{quantile="{i / 5000}"}} {i}e3\n' for i in range(5000))
        + "x_count 1e5\n",
    ],
    ids=["families", "summaries", "buckets", "quantiles"],
)
def test_what_is_large_comes_in_small_pieces_and_looks_the_same(body, monkeypatch):
    large = group(of_text(body))
    pieces = in_pieces(large)
    assert len(pieces) > 20
    assert max(map(len, pieces)) < 20_000
    monkeypatch.setattr("pushgate.server.api.metrics._SLOTS_PER_PIECE", 10**9)
    at_once = in_pieces(large)
    assert max(map(len, at_once)) > 50_000
    assert b"".join(pieces) == b"".join(at_once)


def test_a_huge_native_histogram_comes_in_small_pieces():
    buckets = 20_000
    histogram = {
        "sample_count": buckets,
        "sample_sum": 1.0,
        "schema": 8,
        "positive_span": [{"offset": 0, "length": buckets}],
        "positive_delta": [1] + [0] * (buckets - 1),
    }
    detail = message_class("Metric")(histogram=histogram).SerializeToString()
    family = FamilyShape("h", MetricType.HISTOGRAM, "", ((),), ((),))
    pushed = Pushed(interned((family,)), b"1 20000", (detail,))
    pieces = in_pieces(group(pushed))
    assert max(map(len, pieces)) < 100_000
    [found] = json.loads(b"".join(pieces))
    assert [row[3] for row in found["h"]["metrics"][0]["buckets"]] == ["1"] * buckets


def recorded() -> list:
    """Scenarios that look at the groups by the API."""
    return [
        pytest.param(scenario["steps"], id=scenario["name"])
        for scenario in json.loads(VECTORS.read_text())
        if "differs" not in scenario
        and any(step["target"] == "/api/v1/metrics" for step in scenario["steps"])
        and not scenario["name"].startswith("route")
    ]


@pytest.mark.parametrize("steps", recorded())
def test_shows_groups_as_the_reference_did(steps):
    served = Served()
    for step in steps:
        body = base64.b64decode(step.get("body_base64", "")) or step.get("body", "")
        answer = served.ask(step["method"], step["target"], body, step.get("headers"))
        if step["target"] == "/api/v1/metrics":
            assert TIMES.sub("<TIME>", answer.text) == step["expect"]["body"]


def test_others_are_served_while_a_long_list_is_made():
    async def scenario():
        served = Served()
        body = "".join(f'm{{i="{i}"}} {i}\n' for i in range(20_000))
        await served.asked("PUT", "/metrics/job/j", body)
        finished = []

        async def ask(target):
            finished.append(target)
            answer = await served.asked("GET", target)
            finished.append(answer)
            return answer

        long, short = await asyncio.gather(ask("/api/v1/metrics"), ask("/-/healthy"))
        assert finished.index(short) < finished.index(long)
        return long

    answer = asyncio.run(scenario())
    assert "content-length" not in answer.headers
    assert answer.chunks > 10
    [group] = json.loads(answer.text)["data"]
    assert [metric["value"] for metric in group["m"]["metrics"][:3]] == ["0", "1", "2"]
    assert len(group["m"]["metrics"]) == 20_000

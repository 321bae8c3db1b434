"""Whatever was accepted, a real Prometheus takes the whole exposition."""

import json

import pytest

from tests import services
from tests.delimited import PROTOBUF, delimited
from tests.exchange import ask
from tests.native_histograms import native
from tests.waiting import until

CONFIG = """
global: {scrape_interval: 500ms}
scrape_configs:
  - {job_name: text, honor_labels: true, static_configs: [{targets: ["127.0.0.1:%(port)d"]}]}
"""
WITHIN = 20
TEXT = {
    # Not h: of a family, a Prometheus asks only the first metric whether it is native.
    "points twice": '# TYPE c histogram\nc_bucket{le="1"} 1\nc_bucket{le="1"} 2\nc_count 1\n',
    "points of no order": '# TYPE s summary\ns{quantile="NaN"} 1\ns{quantile="5"} 1\ns_sum NaN\n',
    "an empty label beside none": 'm{l=""} 1\nm 2\n',
    "a gauge histogram": '# TYPE x gaugehistogram\nx_bucket{le="1"} 1\n',
    "controls in values and help": 'm{l="a\rb\0c"} 1\n# HELP n a\rb\0\x0c\x1e\u2028\nn 1\n',
    "names that need quotes": '{"a.b","x y"="1"} 1\n# TYPE "a\\n\\"c" gauge\n{"a\\n\\"c"} 1\n',
    "names that escaping makes one": '{"a.b"} 1\na_b 2\n# HELP "é" x\\\\y\n{"é"} 1\n{"0"} 1\n',
    "labels that escaping makes one": '{"m","a.b"="1",a_b="2"} 1\n',
    "a label that is escaped to __name__": '{"m","énameé"="x"} 1\n{"n","..name.."="x"} 1\n',
    "a reserved label": 'm{__name__="x"} 1\n',
    "quantile in a summary": '# TYPE s summary\ns{quantile="1"} 1\n',
}
HISTOGRAMS = {
    "fine": {"sample_count": 3, "zero_count": 1, "positive": ([(0, 1)], [2])},
    "count too large": {"sample_count": 9, "zero_count": 1, "positive": ([(0, 1)], [2])},
    "count of NaN": {"sample_count": 9, "sample_sum": float("nan"), "positive": ([(0, 1)], [2])},
    "negative bucket": {"sample_count": 1, "positive": ([(0, 2)], [2, -3])},
    "too few buckets": {"sample_count": 2, "positive": ([(0, 3)], [2])},
    "too many buckets": {"sample_count": 4, "positive": ([(0, 1)], [2, 0])},
    "overlapping spans": {"sample_count": 4, "positive": ([(0, 1), (-1, 1)], [2, 0])},
    "a huge span": {"sample_count": 0, "positive": ([(0, 4_000_000_000)], [])},
    "another schema": {"sample_count": 1, "zero_count": 1, "schema": 99},
    "a negative float": {"sample_count_float": 2.0, "positive_floats": ([(0, 1)], [-2.0])},
    "a negative float beside NaN": {
        "sample_count_float": 2.0,
        "zero_count_float": float("nan"),
        "positive_floats": ([(0, 1)], [-2.0]),
    },
    "float count too small": {"sample_count_float": 1.0, "positive_floats": ([(0, 1)], [2.5])},
    "more than 63 bits": {"sample_count": 2**63 + 1, "positive": ([(0, 2)], [1, 2**63 - 1])},
    "deltas without spans": {"sample_count": 2, "zero_threshold": 0.0, "positive": ([], [2])},
}


@pytest.fixture(scope="module", params=["text", "protobuf"])
def prometheus(request, gateway):
    flag = ["--enable-feature=native-histograms"] if request.param == "protobuf" else []
    with services.prometheus(CONFIG % {"port": gateway.port}, *flag) as service:
        yield service


def pushes():
    for label in ("quantile/0.5", "quantile@base64/=", "le/1"):
        for name, body in TEXT.items():
            yield f"{name}, {label}", f"/metrics/job/j/{label}", body.encode(), {}
    for name, body in TEXT.items():
        yield name, "/metrics/job/j", body.encode(), {}
    for name, histogram in HISTOGRAMS.items():
        body = delimited(native(**histogram))
        for path in ("/metrics/job/j", "/metrics/job/j/le/1"):
            yield f"{name}, {path}", path, body, {"Content-Type": PROTOBUF}
    yield "a help that is not UTF-8", "/metrics/job/j", b"# HELP o caf\xe9\no 1\n", {}


def test_every_accepted_push_leaves_a_target_that_is_up(gateway, prometheus):
    """All pushes that are accepted are stored at the same time, each in a group of its own."""
    accepted = 0
    for number, (name, path, body, headers) in enumerate(pushes()):
        answer = ask(gateway.port, "PUT", f"{path}/n/{number}", body, headers)
        assert answer.status in (200, 400), name
        accepted += answer.status == 200
    assert accepted >= 25
    assert ask(gateway.port, "PUT", "/metrics/job/last", b"last_push 1\n").status == 200

    services.query(prometheus, "last_push")
    target = scraped_again(prometheus)

    assert (target["health"], target["lastError"]) == ("up", "")


def scraped_again(prometheus) -> dict:
    """The target after a scrape that began from now on, and that was answered in time."""

    def target() -> dict:
        [active] = json.loads(prometheus.get("/api/v1/targets"))["data"]["activeTargets"]
        return active

    def next_target() -> dict:
        found = target()
        is_next = found["lastScrape"] != first["lastScrape"]
        return found if is_next and "deadline exceeded" not in found["lastError"] else {}

    first = target()
    return until(next_target, WITHIN, "not scraped")

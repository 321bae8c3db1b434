import time
from collections import Counter
from contextlib import closing

import pytest

from tests import services
from tests.delimited import PROTOBUF
from tests.fuzz import diff, schema
from tests.fuzz.generate import Generator, Request
from tests.fuzz.known import grouping_key, known

LENGTH = schema.varint(1 << 40) + schema.MetricFamily(name=b"a").SerializeToString()


def test_a_seed_makes_the_same_case_each_time():
    assert Generator("7:1").case() == Generator("7:1").case()
    assert Generator("7:1").case() != Generator("7:2").case()


def test_the_reference_does_not_differ_from_itself():
    told = []
    with (
        services.go_pushgateway(diff.ADMIN) as one,
        services.go_pushgateway(diff.ADMIN) as other,
        closing(diff.Pair(one, other, list(diff.EXPOSITIONS))) as pair,
    ):
        cases = (f"1:{number}" for number in range(100))

        kinds = diff.fuzz([pair], cases, until=time.monotonic() + 30, tell=told.append)

    assert kinds == 0, told


def test_a_difference_is_found_and_shrunk_to_what_matters():
    requests = [
        Request("PUT", "/metrics/job/j", b"b 1\n"),
        Request("PUT", "/metrics/job/k", b"# TYPE a gauge\na 1\nb 1\nb 1\n"),
        Request("PUT", "/metrics/job/j", b"c 1\n"),
    ]
    with (
        services.go_pushgateway(diff.ADMIN, "--push.disable-consistency-check") as ours,
        services.go_pushgateway(diff.ADMIN) as reference,
        closing(diff.Pair(ours, reference)) as pair,
    ):
        found = pair.difference(requests[1:])
        smallest = diff.shrunk(pair, found)

    assert found.what == smallest.what == "status"
    assert (found.ours.status, found.reference.status) == (202, 400)
    assert smallest.requests == (Request("PUT", "/metrics/job/k", b""),)


def test_expositions_are_compared_without_own_metrics_times_and_order_of_samples():
    exposition = (
        "# HELP go_info x\n# TYPE go_info gauge\ngo_info 1\n"
        "# HELP m one\n# TYPE m gauge\nm 2\nm 1\n"
        '# TYPE push_time_seconds gauge\npush_time_seconds{job="j"} 1.7e+09\n'
    )

    assert diff.normal(exposition, with_help=False) == [
        "# TYPE m gauge",
        "m 1",
        "m 2",
        "# TYPE push_time_seconds gauge",
        'push_time_seconds{job="j"} <TIME>',
    ]


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        pytest.param("/metrics/job/j", {b"job": b"j"}, id="job"),
        pytest.param("/metrics/job/j/", {b"job": b"j"}, id="trailing slash"),
        pytest.param("/metrics/job@base64/ag/x/1", {b"job": b"j", b"x": b"1"}, id="base64"),
        pytest.param("/metrics/job/j/job/k", {b"job": b"j"}, id="job wins"),
        pytest.param("/metrics/job/j/x/%FF", {b"job": b"j", b"x": b"\xff"}, id="not UTF-8"),
    ],
)
def test_a_target_names_its_group(target, labels):
    assert grouping_key(target) == frozenset(labels.items())


def test_a_target_without_pairs_names_no_group():
    assert grouping_key("/metrics/job/j/x") is None


@pytest.mark.parametrize(
    ("identity", "before", "request_"),
    [
        pytest.param("P1", [], Request("PUT", "/metrics/job/%FF"), id="group not UTF-8"),
        pytest.param(
            "P3",
            [Request("PUT", "/metrics/job/j")],
            Request("PUT", "/metrics/job/j/instance@base64/="),
            id="empty instance",
        ),
        pytest.param("P10", [], Request("PUT", "/metrics/job/j", b'{x="y"} 1\n'), id="no name"),
        pytest.param(
            "P8",
            [],
            Request("PUT", "/metrics/job/j", LENGTH, {"Content-Type": PROTOBUF}),
            id="length",
        ),
        pytest.param("L1", [], Request("PUT", "/metrics/job/j", b"a 1"), id="no line feed"),
        pytest.param("L1", [], Request("PUT", "/metrics/job/j", b"a 1 \nb 1\n"), id="blank"),
        pytest.param("L2", [], Request("PUT", "/metrics/job/j/x/%2F"), id="slash in a value"),
        pytest.param("L2", [], Request("PUT", "/metrics/job/j/../k"), id="dots"),
        pytest.param("router", [], Request("PUT", "/Metrics/job/j"), id="capital letter"),
        pytest.param(None, [], Request("PUT", "/metrics/job/j", b"a 1\n"), id="ordinary"),
        pytest.param(None, [], Request("PUT", "/metrics/job/j", b'{"a",x="y"} 1\n'), id="named"),
    ],
)
def test_deliberate_differences_are_recognised(identity, before, request_):
    assert known(request_, before) == identity


def test_cases_are_cut_at_the_first_deliberate_difference():
    left_out = Counter()
    cases = [diff.case(f"3:{number}", left_out) for number in range(300)]

    assert sum(left_out.values()) < 250
    assert sum(map(len, cases)) > 300

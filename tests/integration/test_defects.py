"""What breaks the Go Pushgateway 1.11.3 does not break ours.

For each of its known defects: our answer to what sets it off, and that afterwards the process
lives, everything can be read, and other groups can be pushed to.
"""

import itertools
import json
import socket
import struct
from contextlib import contextmanager

import pytest
from google.protobuf import text_format

from pushgate.formats.protobuf.messages import message_class
from tests import services
from tests.delimited import PROTOBUF, delimited
from tests.exchange import TIMEOUT, ask, exchanged, statuses

READ_BY_ALL = ("/metrics", "/api/v1/metrics", "/", "/status", "/-/ready", "/-/healthy")
FRESH = itertools.count()
FLAGS = ("--push.enable-utf8-names", "--web.enable-lifecycle")


@pytest.fixture(scope="module")
def server():
    """One process takes all of it, so what one test leaves behind cannot hurt the next."""
    with services.pushgate(*FLAGS) as service:
        yield service


@pytest.fixture
def gateway(server):
    """The server, which is sound before and after the test."""
    assert is_sound(server)
    yield server
    assert is_sound(server)


def is_sound(service):
    """Whether the process lives, everything can be read and another group pushed to."""
    number = next(FRESH)
    body = b"other_%d %d\n" % (number, number)
    assert push(service, f"/metrics/job/other{number}", body).status == 200
    assert f'other_{number}{{instance="",job="other{number}"}} {number}\n' in exposition(service)
    assert ask(service.port, "GET", "/metrics", headers={"Accept": PROTOBUF}).status == 200
    assert all(ask(service.port, "GET", path).status == 200 for path in READ_BY_ALL)
    assert f"other{number}" in json.dumps(groups(service))
    return service.process.poll() is None


def push(service, target, body=b"m 1\n", method="PUT"):
    return ask(service.port, method, target, body)


def push_families(service, target, *families):
    """Pushes families that are given in protobuf's text format."""
    kind = message_class("MetricFamily")
    body = delimited(*(text_format.Parse(family, kind()) for family in families))
    return ask(service.port, "PUT", target, body, {"Content-Type": PROTOBUF})


def exposition(service):
    return ask(service.port, "GET", "/metrics").text


def groups(service):
    return json.loads(ask(service.port, "GET", "/api/v1/metrics").body)["data"]


def group(service, **labels):
    [found] = [group for group in groups(service) if group["labels"] == labels]
    return found


@pytest.mark.parametrize(
    "target",
    [
        "/metrics/job/%FF",
        "/metrics/job@base64/_w",
        "/metrics/job/p1/a/%C3",
        "/metrics/job/p1/a@base64/_w",
    ],
)
def test_p1_a_grouping_value_that_is_not_utf8_is_refused_without_a_trace(gateway, target):
    before = groups(gateway)

    assert push(gateway, target).status == 400
    assert groups(gateway) == before


def test_p1_nor_as_a_raw_byte(gateway):
    before = groups(gateway)
    request = b"PUT /metrics/job/\xff HTTP/1.1\r\nHost: g\r\nConnection: close\r\n"

    assert statuses(exchanged(gateway.port, request + b"Content-Length: 4\r\n\r\nm 1\n")) == [400]
    assert groups(gateway) == before


def test_p2_a_name_that_unescapes_to_a_reserved_one_is_refused(gateway):
    before = groups(gateway)
    answer = push(gateway, "/metrics/job/p2/U______name______/x")

    assert answer.status == 400
    assert answer.first_line.startswith("improper label name ")
    assert groups(gateway) == before


def test_p3_a_group_that_differs_by_an_empty_instance_is_refused(gateway):
    assert push(gateway, "/metrics/job/p3", b"p3 1\n").status == 200
    before = groups(gateway)
    answer = push(gateway, "/metrics/job/p3/instance/", b"p3_other 1\n")

    assert answer.status == 400
    assert "was collected before with the same name and label values" in answer.text
    assert groups(gateway) == before
    assert push(gateway, "/metrics/job/p3", b"p3 2\n").status == 200


def test_p4_the_time_of_a_failure_is_the_servers(gateway):
    assert push(gateway, "/metrics/job/p4", b"p4 1 123\n").status == 400
    failed = group(gateway, job="p4")["push_failure_time_seconds"]
    body = b'# TYPE push_failure_time_seconds counter\npush_failure_time_seconds{x="y"} 7\np4 1\n'
    assert push(gateway, "/metrics/job/p4", body).status == 200

    found = group(gateway, job="p4")["push_failure_time_seconds"]
    assert (found["type"], found["metrics"]) == ("GAUGE", failed["metrics"])
    assert push(gateway, "/metrics/job/p4_new_group").status == 200


@pytest.mark.parametrize(
    "family",
    [
        'name: "" type: 1 metric { gauge { value: 1 } }',
        'name: "p5" type: 5 metric { gauge { value: 1 } }',
        'name: "p5" type: 5 metric { }',
    ],
)
def test_p5_families_that_cannot_be_exposed_are_refused(gateway, family):
    answer = push_families(gateway, "/metrics/job/p5", family)

    assert answer.status == 400
    assert "p5" not in exposition(gateway)


def test_p5_nor_is_an_unknown_type_number(gateway):
    family = b"\x0a\x02p5\x18\x63\x22\x0b\x12\x09\x09" + struct.pack("<d", 1)
    body = bytes([len(family)]) + family
    headers = {"Content-Type": PROTOBUF}

    assert ask(gateway.port, "PUT", "/metrics/job/p5", body, headers).status == 400
    assert "p5" not in exposition(gateway)


@pytest.mark.parametrize("schema", [-53, -5, 9, 2_000_000_000])
def test_p6_a_native_histogram_of_an_impossible_schema_cuts_off_nobody(gateway, schema):
    answer = push_families(
        gateway,
        "/metrics/job/p6",
        f"""name: "p6" type: 4 metric {{ histogram {{
        sample_count: 1 sample_sum: 1 schema: {schema} zero_threshold: 0.1
        positive_span {{ offset: 0 length: 1 }} positive_delta: 1
    }} }}""",
    )

    assert answer.status == 400
    assert "schema" in answer.first_line


def test_p7_a_failure_time_without_metrics_hides_nothing(gateway):
    assert push(gateway, "/metrics/job/p7", b"p7 1 123\n").status == 400
    answer = push_families(gateway, "/metrics/job/p7", 'name: "push_failure_time_seconds" type: 1')

    assert answer.status == 200
    [metric] = group(gateway, job="p7")["push_failure_time_seconds"]["metrics"]
    assert float(metric["value"]) > 1e9
    page = ask(gateway.port, "GET", "/")
    assert (page.status, "p7" in page.text) == (200, True)


@pytest.mark.parametrize(
    "length",
    [
        b"\xff\xff\xff\xff\x0f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    ids=["4 GiB", "2^63 - 1", "2^64 - 1"],
)
def test_p8_a_length_beyond_the_body_costs_its_bytes(gateway, length):
    headers = {"Content-Type": PROTOBUF}
    answer = ask(gateway.port, "PUT", "/metrics/job/p8", length + b"\x0a\x01a", headers)

    assert (answer.status, answer.text) == (400, "unexpected EOF\n")


@pytest.mark.parametrize("line", [b"{} 1\n", b"{,} 1\n", b'{x="y"} 1\n'])
def test_p9_a_line_without_a_name_is_refused(gateway, line):
    answer = push(gateway, "/metrics/job/p9", b"\n" + line)

    assert answer.status == 400
    assert answer.first_line.startswith("text format parsing error in line 2: invalid ")


def test_p10_a_line_without_a_name_does_not_repeat_the_one_before(gateway):
    answer = push(gateway, "/metrics/job/p10", b'b 1\n{x="y"} 2\n')

    assert answer.status == 400
    assert answer.first_line == "text format parsing error in line 2: invalid metric name"


def test_p11_a_name_in_braces_belongs_to_its_own_family(gateway):
    body = b"""\
# TYPE p11 histogram
p11_a{old="1"} 1
{"p11_bucket",x="y",le="1"} 1
{"p11_bucket",x="y",le="+Inf"} 2
{"p11_count",x="y"} 2
{"p11_sum",x="y"} 3
"""
    assert push(gateway, "/metrics/job/p11", body).status == 200

    shown = [line for line in exposition(gateway).splitlines() if line.startswith("p11")]
    assert shown == [
        'p11_bucket{instance="",job="p11",x="y",le="1"} 1',
        'p11_bucket{instance="",job="p11",x="y",le="+Inf"} 2',
        'p11_sum{instance="",job="p11",x="y"} 3',
        'p11_count{instance="",job="p11",x="y"} 2',
        'p11_a{instance="",job="p11",old="1"} 1',
    ]


@pytest.mark.parametrize("count", ["-1", "NaN", "1e300", "18446744073709551616", "-Inf"])
def test_p12_the_count_of_a_summary_is_a_count_or_refused(gateway, count):
    body = f"# TYPE p12 summary\np12_count {count}\n".encode()
    answer = push(gateway, "/metrics/job/p12", body)

    assert answer.status in {200, 400}
    if answer.status == 200:
        shown = exposition(gateway).partition('p12_count{instance="",job="p12"} ')[2]
        assert 0 <= float(shown.split("\n")[0]) <= 2.0**64


def test_p13_a_push_path_with_a_slash_too_many_is_not_redirected(gateway):
    assert push(gateway, "/metrics//job/a%20b").status == 200
    assert push(gateway, "/metrics/job/p13/a%2Bb//c").headers["Location"] is None


@pytest.mark.parametrize("path", ["/api/v1/metrics/", "/api/v1/STATUS", "/api/v1//status"])
def test_p14_a_wrong_path_of_the_api_is_not_found(gateway, path):
    assert ask(gateway.port, "GET", path).status == 404


def test_p15_gauge_histograms_and_float_histograms_show_what_they_hold(gateway):
    gauge = b'# TYPE p15 gauge_histogram\np15_bucket{le="1"} 4\np15_count 7\np15_sum 9\n'
    floats = b'# TYPE p15_float histogram\np15_float_bucket{le="1"} 1.5\np15_float_count 2.5\n'
    assert push(gateway, "/metrics/job/p15", gauge + floats).status == 200

    held = group(gateway, job="p15")
    assert held["p15"]["metrics"][0]["count"] == "7"
    assert held["p15"]["metrics"][0]["buckets"] == {"1": "4"}
    assert held["p15_float"]["metrics"][0]["count"] == "2.5"


def test_p16_families_do_not_hide_what_is_said_of_the_group(gateway):
    body = b"labels 1\nlast_push_successful 2\np16 3\n"
    assert push(gateway, "/metrics/job/p16", body).status == 200

    held = group(gateway, job="p16")
    assert held["labels"] == {"job": "p16"}
    assert held["last_push_successful"] is True
    assert 'last_push_successful{instance="",job="p16"} 2' in exposition(gateway)


@pytest.mark.parametrize(
    "path",
    [
        "/static/%2e%2e/template.html",
        "/static/..%2f..%2fpages.py",
        "/static/%2e%2e%2f%2e%2e%2fpages.py",
    ],
)
def test_p19_only_static_files_are_served(gateway, path):
    assert ask(gateway.port, "GET", path).status == 404


@contextmanager
def push_in_flight(service, target):
    """A push whose body is not complete; *finish* sends the rest and returns the statuses."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT) as connection:
        head = (
            f"PUT {target} HTTP/1.1\r\nHost: g\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"
        )
        connection.sendall(head.encode() + b"late ")
        # An answer on another connection: the server has read what was sent before.
        assert ask(service.port, "GET", "/-/ready").status == 200

        def finish():
            connection.sendall(b"4711\n")
            return statuses(b"".join(iter(lambda: connection.recv(65536), b"")))

        yield finish


def test_p17_a_push_in_flight_is_answered_before_the_exit(tmp_path):
    data = tmp_path / "pushgate.db"
    with services.pushgate(data=data) as service:
        with push_in_flight(service, "/metrics/job/p17") as finish:
            service.process.terminate()
            assert finish() == [200]
        assert service.process.wait(TIMEOUT) == 0
    with services.pushgate(data=data) as service:
        assert 'late{instance="",job="p17"} 4711' in exposition(service)
        assert is_sound(service)


@pytest.mark.parametrize("content", [b"neither gob nor SQLite", b"SQLite format 3\0 cut off"])
def test_p18_a_corrupt_file_is_never_overwritten(tmp_path, content):
    data = tmp_path / "pushgate.db"
    data.write_bytes(content)

    with pytest.raises(ChildProcessError, match="ended with 1"), services.pushgate(data=data):
        pass
    assert data.read_bytes() == content

    with services.pushgate("--persistence.reset-damaged", data=data) as service:
        assert is_sound(service)
    [aside] = tmp_path.glob("pushgate.db.damaged-*")
    assert aside.read_bytes() == content


def test_p20_a_second_request_to_quit_is_answered_too():
    request = b"PUT /-/quit HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n"
    with services.pushgate(*FLAGS) as service:
        assert statuses(exchanged(service.port, 2 * request)) == [200, 200]
        assert service.process.wait(TIMEOUT) == 0

"""Where we answer differently from the Go Pushgateway on purpose, seen on a running server.

The numbers are those of docs/compatibility.md, which also names the tests that stand elsewhere.
"""

import gzip
import json
import resource
import subprocess
import zlib

import pytest

from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.wire import read_varint
from pushgate.formats.zstd import zstd
from tests import services
from tests.delimited import PROTOBUF
from tests.exchange import ask, exchanged, statuses

# On any machine a push of ours takes far less processor time than this many of one's own size.
AT_MOST_TIMES = 8


def put(service, target, body=b"m 1\n", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(service.port, "PUT", target, body, headers)


def exposition(service):
    answer = ask(service.port, "GET", "/metrics")
    assert answer.status == 200
    return answer.text


def lines(service, name):
    return [line for line in exposition(service).splitlines() if line.startswith(name)]


def value(service, series):
    [line] = [line for line in lines(service, series) if line.startswith(series + " ")]
    return float(line.rpartition(" ")[2])


def group_labels(service):
    groups = json.loads(ask(service.port, "GET", "/api/v1/metrics").body)["data"]
    return [group["labels"] for group in groups]


# --- Always --------------------------------------------------------------------------------------


def test_d1_a_push_costs_what_it_holds_and_not_what_is_stored():
    def seconds(service):
        started = value(service, "process_cpu_seconds_total")
        for number in range(200):
            body = b'small{number="%d"} 1\n' % number
            assert put(service, f"/metrics/job/small/n/{number % 10}", body).status == 200
        return value(service, "process_cpu_seconds_total") - started

    with services.pushgate() as service:
        seconds(service)  # the first ones warm up
        small = seconds(service)
        for job in range(20):
            body = b"".join(b'large{number="%d"} 1\n' % number for number in range(2500))
            assert put(service, f"/metrics/job/large{job}", body).status == 200
        exposition(service)
        large = seconds(service)
        clash = put(service, "/metrics/job/small", b"# TYPE large counter\nlarge 1\n")

    assert large < AT_MOST_TIMES * small
    assert clash.first_line.endswith("is not a UNTYPED")


def test_d2_unchecked_pushes_that_contradict_the_store_are_dropped_and_scrapes_go_on():
    with services.pushgate("--push.disable-consistency-check") as service:
        assert put(service, "/metrics/job/first", b"# TYPE a counter\na 1\n").status == 202
        assert put(service, "/metrics/job/second", b"# TYPE a gauge\na 2\n").status == 202
        assert put(service, "/metrics/job/third", b"a 3 1700000000\n").status == 202

        assert lines(service, "a{") == ['a{instance="",job="first"} 1']
        for job in ("second", "third"):
            assert value(service, f'push_failure_time_seconds{{instance="",job="{job}"}}') > 1e9
        assert value(service, 'pushgate_rejected_pushes_total{reason="inconsistent"}') == 2
        log = service.log.read_text()
    assert log.count("level=warn") == 2
    assert 'msg="pushed metrics are invalid or inconsistent with existing metrics"' in log


def test_d4_what_was_answered_is_on_disk_and_to_be_seen(tmp_path):
    data = tmp_path / "pushgate.db"
    with services.pushgate(data=data) as service:
        assert put(service, "/metrics/job/kept").status == 200
        assert put(service, "/metrics/job/gone").status == 200
        deleted = ask(service.port, "DELETE", "/metrics/job/gone")
        assert (deleted.status, deleted.body) == (202, b"")
        before = lines(service, "m{")
        service.kill()
    with services.pushgate(data=data) as service:
        after = lines(service, "m{")

    assert before == after == ['m{instance="",job="kept"} 1']


def test_d5_metrics_are_kept_in_a_file_unless_it_is_named_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with services.serving("--persistence.file=") as service:
        assert put(service, "/metrics/job/j").status == 200
        assert list(tmp_path.iterdir()) == []
    for expected in ([], ['m{instance="",job="j"} 1']):
        with services.serving() as service:
            assert lines(service, "m{") == expected
            assert put(service, "/metrics/job/j").status == 200

    assert (tmp_path / "data/pushgate.db").exists()


def test_d8_own_metrics_are_those_of_the_reference_less_go_and_network():
    with services.pushgate() as service:
        answer = put(service, "/metrics/job/j", b"# TYPE go_goroutines counter\ngo_goroutines 3\n")
        assert answer.status == 200
        own = {line.split("{")[0].split(" ")[0] for line in lines(service, ("p", "g"))}
        [build] = lines(service, "pushgateway_build_info")

        assert lines(service, "go_") == ['go_goroutines{instance="",job="j"} 3']
    assert own >= {
        "pushgateway_build_info",
        "pushgateway_http_push_duration_seconds",
        "pushgateway_http_push_duration_seconds_count",
        "pushgateway_http_push_size_bytes",
        "pushgateway_http_requests_total",
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "process_virtual_memory_max_bytes",
        "python_info",
    }
    assert 'pythonversion="' in build
    assert "goversion" not in build


@pytest.mark.parametrize("path", ["/debug/pprof", "/debug/pprof/", "/debug/pprof/heap"])
def test_d9_there_is_no_profiler(gateway, path):
    assert ask(gateway.port, "GET", path).status == 404


def test_d9_http2_is_not_spoken(gateway):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    assert statuses(exchanged(gateway.port, preface)) == [400]


@pytest.mark.parametrize("flag", ["--help-long", "--help-man", "--completion-bash"])
def test_d9_there_are_no_hidden_flags(flag):
    done = subprocess.run([services.PUSHGATE, "serve", flag], capture_output=True, check=False)

    assert done.returncode == 1
    assert f"unrecognized arguments: {flag}".encode() in done.stderr


def test_d11_the_first_line_is_the_reference_and_further_ones_help(gateway):
    assert put(gateway, "/metrics/job/holder", b"# TYPE d11 counter\nd11 1\n").status == 200
    answer = put(gateway, "/metrics/job/other", b"# TYPE d11 gauge\nd11 2\n")

    first, *more = answer.text.splitlines()
    assert answer.status == 400
    assert first.startswith(
        "pushed metrics are invalid or inconsistent with existing metrics: collected metric "
    )
    assert first.endswith('label:{name:"job" value:"other"} gauge:{value:2}} is not a COUNTER')
    assert 'd11 is a counter in the group {job="holder"}' in "\n".join(more)
    assert "Push the same type" in "\n".join(more)


def test_d12_without_a_journal_it_is_alive_and_not_ready(tmp_path):
    with services.pushgate(data=tmp_path / "pushgate.db") as service:
        assert put(service, "/metrics/job/before").status == 200
        pid, limits = service.process.pid, resource.RLIMIT_FSIZE
        unlimited = resource.prlimit(pid, limits, (1, resource.RLIM_INFINITY))
        refused = put(service, "/metrics/job/after")

        assert refused.status == 503
        assert ask(service.port, "GET", "/-/ready").status == 503
        assert ask(service.port, "GET", "/-/healthy").status == 200
        assert lines(service, "m{") == ['m{instance="",job="before"} 1']

        resource.prlimit(pid, limits, unlimited)
        assert put(service, "/metrics/job/after").status == 200
        assert ask(service.port, "GET", "/-/ready").status == 200


def test_d13_samples_of_a_family_come_group_by_group(gateway):
    for job in ("d13b", "d13a"):
        body = b'd13{a="2"} 2\nd13{a="1"} 1\n'
        assert put(gateway, f"/metrics/job/{job}", body).status == 200

    assert lines(gateway, "d13{") == [
        'd13{a="1",instance="",job="d13a"} 1',
        'd13{a="2",instance="",job="d13a"} 2',
        'd13{a="1",instance="",job="d13b"} 1',
        'd13{a="2",instance="",job="d13b"} 2',
    ]


# --- Accepted in addition -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"l1 1\r\n",
        b"l1 1",
        b"\xef\xbb\xbfl1 1\n",
        b"l1 1 \n",
        b"\xef\xbb\xbf# TYPE l1 untyped\r\nl1 1  \r\n\r\n# the end",
    ],
    ids=["crlf", "no last line feed", "byte order mark", "blank at the end", "all of it"],
)
def test_l1_text_as_editors_leave_it_is_read(gateway, body):
    assert put(gateway, "/metrics/job/l1", body).status == 200
    assert lines(gateway, "l1{") == ['l1{instance="",job="l1"} 1']


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        ("/metrics/job/a%2Fb", {"job": "a/b"}),
        ("/metrics/job/l2/path/%2Fvar%2Ftmp", {"job": "l2", "path": "/var/tmp"}),
        ("/metrics/job/l2//x", None),
        ("/metrics/job/l2/a//b/c", {"job": "l2", "a": "", "b": "c"}),
    ],
)
def test_l2_slashes_in_values_and_empty_values_need_no_base64(gateway, target, labels):
    before = group_labels(gateway)
    answer = put(gateway, target)
    new = [group for group in group_labels(gateway) if group not in before]

    assert (answer.status, new) == ((200, [labels]) if labels else (400, []))


@pytest.mark.parametrize("path", ["/metrics", "/-/ready", "/-/healthy", "/", "/api/v1/status"])
def test_l3_head_is_answered_as_get(gateway, path):
    head, get = (ask(gateway.port, method, path) for method in ("HEAD", "GET"))

    assert (head.status, head.body) == (get.status, b"") == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize(
    ("coding", "encoded"), [("zstd", zstd.compress), ("deflate", zlib.compress)]
)
def test_l4_zstd_and_deflate_are_decoded(gateway, coding, encoded):
    body = b'l4{coding="%s"} 1\n' % coding.encode()

    pushed = put(gateway, f"/metrics/job/{coding}", encoded(body), Content_Encoding=coding)

    assert pushed.status == 200
    assert f'l4{{coding="{coding}",instance="",job="{coding}"}} 1' in lines(gateway, "l4{")


def test_l4_a_coding_nobody_knows_is_named(gateway):
    refused = put(gateway, "/metrics/job/br", b"m 1\n", Content_Encoding="br")

    assert refused.status == 415
    assert "gzip" in refused.text


@pytest.mark.parametrize("coding", ["identity", "none", "utf-8", "UTF-8", "x-gzip"])
def test_l4_what_clients_call_no_coding_is_none(gateway, coding):
    body = b"l4_named 1\n"
    body = gzip.compress(body) if coding == "x-gzip" else body
    assert put(gateway, "/metrics/job/l4", body, Content_Encoding=coding).status == 200
    assert lines(gateway, "l4_named{") == ['l4_named{instance="",job="l4"} 1']


OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.mark.parametrize(
    "body",
    [
        b"# TYPE l5_text counter\nl5_text 1\n# EOF\n",
        b"l5_text 1\n",
        b"\n\nl5_text 1\n\n# EOF\n",
        b"l5_text 1\r\n# EOF\r\n",
        b"# a comment\nl5_text 1\n# EOF",
    ],
    ids=["counter without _total", "no EOF", "blank lines", "CRLF", "comment"],
)
def test_l5_what_the_text_format_takes_is_taken(gateway, body):
    pushed = put(gateway, "/metrics/job/l5", body, Content_Type=OPENMETRICS_TYPE)
    assert pushed.status == 200
    assert lines(gateway, "l5_text{") == ['l5_text{instance="",job="l5"} 1']


def test_l5_an_empty_body_empties_the_group(gateway):
    assert put(gateway, "/metrics/job/l5", b"l5_gone 1\n").status == 200
    assert put(gateway, "/metrics/job/l5", b"", Content_Type=OPENMETRICS_TYPE).status == 200
    assert lines(gateway, "l5_gone") == []


AS_OPENMETRICS = {"Content_Type": OPENMETRICS_TYPE}
COUNTERS = {
    "OpenMetrics": (b"# TYPE %b counter\n%b_total 3\n# EOF\n", AS_OPENMETRICS),
    "the same as text": (b"# TYPE %b counter\n%b_total 3\n# EOF\n", {}),
    "text": (b"# TYPE %b_total counter\n%b_total 3\n", {}),
    "text without a type": (b"# %b\n%b_total 3\n", {}),
}


@pytest.mark.parametrize("other", COUNTERS)
@pytest.mark.parametrize("openmetrics_is_first", [True, False])
def test_l5_a_counter_may_come_as_openmetrics_and_as_text(gateway, other, openmetrics_is_first):
    name = f"l5_{list(COUNTERS).index(other)}_{openmetrics_is_first}".encode()
    order = ["OpenMetrics", other] if openmetrics_is_first else [other, "OpenMetrics"]
    for job, form in enumerate(order):
        body, headers = COUNTERS[form]
        answer = put(gateway, f"/metrics/job/{name.decode()}{job}", body % (name, name), **headers)
        assert answer.status == 200, answer.text

    assert len(lines(gateway, name.decode() + "_total{")) == 2
    assert len(lines(gateway, f"# TYPE {name.decode()}_total ")) == 1
    [family] = [family for family in families(gateway) if family.name == name + b"_total"]
    field = "untyped" if family.type == 3 else "counter"
    assert [getattr(metric, field).value for metric in family.metric] == [3, 3]


def test_l5_a_gauge_contradicts_a_counter_that_came_as_openmetrics(gateway):
    body, headers = COUNTERS["OpenMetrics"]
    assert put(gateway, "/metrics/job/l5c", body % (b"l5c", b"l5c"), **headers).status == 200
    refused = put(gateway, "/metrics/job/l5g", b"# TYPE l5c_total gauge\nl5c_total 1\n")
    assert refused.status == 400
    assert "is not a COUNTER" in refused.first_line


def test_l5_that_a_counter_came_as_openmetrics_is_known_after_a_restart(tmp_path):
    body, headers = COUNTERS["OpenMetrics"]
    data = tmp_path / "pushgate.db"
    with services.pushgate(data=data) as service:
        assert put(service, "/metrics/job/a", body % (b"x", b"x"), **headers).status == 200
    with services.pushgate(data=data) as service:
        assert put(service, "/metrics/job/b", b"x_total 1\n").status == 200
        assert len(lines(service, "x_total{")) == 2


def test_l6_patch_replaces_single_series_and_keeps_all_others_after_a_restart_too(tmp_path):
    data, group = tmp_path / "pushgate.db", "/metrics/job/l6"
    with services.pushgate(data=data) as service:
        before = b'# TYPE l6 gauge\nl6{d="a"} 1\nl6{d="b"} 2\nl6_other 3\n'
        assert put(service, group, before).status == 200
        patch = b'# TYPE l6 gauge\nl6{d="b"} 20\nl6{d="c"} 30\n'
        assert ask(service.port, "PATCH", group, patch).status == 200
        expected = [
            f'l6{{d="{d}",instance="",job="l6"}} {n}' for d, n in (("a", 1), ("b", 20), ("c", 30))
        ]
        assert lines(service, "l6{") == expected
        refused = ask(service.port, "PATCH", group, b"# TYPE l6 counter\nl6 1\n")
        assert (refused.status, "it is stored as a gauge" in refused.text) == (400, True)
    with services.pushgate(data=data) as service:
        assert lines(service, "l6{") == expected
        assert lines(service, "l6_other") == ['l6_other{instance="",job="l6"} 3']
        assert lines(service, "push_failure_time_seconds{") != [
            'push_failure_time_seconds{instance="",job="l6"} 0'
        ]


OPENMETRICS = b"""\
# TYPE l5 counter
# HELP l5 Fifth.
l5_total 3 # {trace_id="4bf9"} 0.5
l5_created 1700000000.5
# EOF
"""


def test_l5_openmetrics_is_read_with_exemplars_and_creation_times(gateway):
    kind = OPENMETRICS_TYPE
    pushed = put(gateway, "/metrics/job/l5", OPENMETRICS, Content_Type=kind)
    stamped = put(gateway, "/metrics/job/l5", b"l5_other 1 1700000000\n# EOF\n", Content_Type=kind)

    assert pushed.status == 200
    assert lines(gateway, "l5_total") == ['l5_total{instance="",job="l5"} 3']
    [counter] = [family for family in families(gateway) if family.name == b"l5_total"]
    assert counter.metric[0].counter.exemplar.label[0].value == b"4bf9"
    assert counter.metric[0].counter.created_timestamp.seconds == 1_700_000_000
    assert stamped.status == 400
    assert "timestamp" in stamped.first_line


def families(service):
    """The families as a scrape in protobuf delivers them."""
    body = ask(service.port, "GET", "/metrics", headers={"Accept": PROTOBUF}).body
    found, at = [], 0
    while at < len(body):
        size, at = read_varint(body, at)
        found.append(message_class("MetricFamily").FromString(body[at : at + size]))
        at += size
    return found

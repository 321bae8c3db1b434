import os
import re
import socket

import pytest

from pushgate.model.family import MetricType
from pushgate.server.telemetry import Sample, Telemetry
from tests import metricspage, services
from tests.exchange import ask

REQUESTS = "pushgateway_http_requests_total"
SIZE = "pushgateway_http_push_size_bytes"
DURATION = "pushgateway_http_push_duration_seconds"
PROCESS = {
    "process_cpu_seconds_total": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
    "process_virtual_memory_max_bytes": "gauge",
}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def telemetry(clock):
    return Telemetry(clock)


def family(telemetry, name):
    return next((family for family in telemetry.families() if family.head.name == name), None)


def values(telemetry, name):
    return [sample.value for sample in family(telemetry, name).samples]


def test_families_come_in_the_order_of_their_names(telemetry):
    names = [family.head.name for family in telemetry.families()]
    assert names == sorted(names)
    assert len(names) == len(set(names))


def test_no_family_tells_when_its_counters_were_created(telemetry):
    telemetry.count_request(200, "push", "put")
    samples = [sample for family in telemetry.families() for sample in family.samples]
    assert not [sample for sample in samples if sample.name.endswith("_created")]


def test_every_sample_is_named_like_its_family_and_has_sorted_labels(telemetry):
    telemetry.count_push(200, "PUT", 129, started=-0.5)
    for family in telemetry.families():
        for sample in family.samples:
            assert sample.name.removesuffix("_sum").removesuffix("_count") == family.head.name
            assert sample.labels == tuple(sorted(sample.labels))
            assert isinstance(sample.value, float)


def test_the_process_is_described_like_that_of_the_go_server(telemetry):
    families = {head.name: head.type.word for head, _ in telemetry.families()}
    assert families.items() >= PROCESS.items()
    assert not [name for name in families if name.startswith("go_")]
    assert {name for name in families if name.startswith("process_")} == set(PROCESS)


def test_open_files_are_those_of_this_process(telemetry):
    [before] = values(telemetry, "process_open_fds")
    with socket.create_server(("127.0.0.1", 0)):
        assert values(telemetry, "process_open_fds") == [before + 1]
    assert values(telemetry, "process_max_fds") == [float(os.sysconf("SC_OPEN_MAX"))]


def test_the_build_carries_the_version_of_python_and_none_of_go(telemetry):
    [sample] = family(telemetry, "pushgateway_build_info").samples
    assert [name for name, _ in sample.labels] == [
        "branch",
        "pythonversion",
        "revision",
        "tags",
        "version",
    ]
    assert sample.value == 1


def test_requests_are_counted_by_code_handler_and_method(telemetry):
    assert family(telemetry, REQUESTS) is None
    telemetry.count_push(400, "POST", 129, started=0)
    telemetry.count_push(200, "PUT", 129, started=0)
    telemetry.count_push(200, "PUT", 129, started=0)
    telemetry.count_request(202, "delete", "delete")
    counted = family(telemetry, REQUESTS)
    assert (counted.head.type, counted.head.help) == (
        MetricType.COUNTER,
        "Total HTTP requests processed by the Pushgateway, excluding scrapes.",
    )
    assert sorted(counted.samples) == [
        (REQUESTS, (("code", "200"), ("handler", "push"), ("method", "put")), 2),
        (REQUESTS, (("code", "202"), ("handler", "delete"), ("method", "delete")), 1),
        (REQUESTS, (("code", "400"), ("handler", "push"), ("method", "post")), 1),
    ]


def test_pushes_are_summed_up_by_method(telemetry):
    assert family(telemetry, SIZE) is None
    telemetry.count_push(200, "PUT", 129, started=-0.25)
    telemetry.count_push(200, "POST", 200, started=-1.5)
    sizes = family(telemetry, SIZE)
    assert (sizes.head.type, sizes.head.help) == (
        MetricType.SUMMARY,
        "HTTP request size for pushes to the Pushgateway.",
    )
    put = (("method", "put"),)
    assert sizes.samples[5:] == [
        Sample(SIZE, (*put, ("quantile", "0.1")), 129),
        Sample(SIZE, (*put, ("quantile", "0.5")), 129),
        Sample(SIZE, (*put, ("quantile", "0.9")), 129),
        Sample(f"{SIZE}_sum", put, 129),
        Sample(f"{SIZE}_count", put, 1),
    ]
    assert values(telemetry, DURATION) == [1.5, 1.5, 1.5, 1.5, 1, 0.25, 0.25, 0.25, 0.25, 1]


def test_after_ten_minutes_without_a_push_its_quantiles_are_not_known(telemetry, clock):
    telemetry.count_push(200, "PUT", 129, started=-0.25)
    clock.now = 600
    assert values(telemetry, SIZE)[:3] == pytest.approx([float("nan")] * 3, nan_ok=True)
    assert values(telemetry, SIZE)[3:] == [129, 1]


def test_every_push_is_counted_in_its_minute(telemetry, clock):
    for number in range(3600):
        clock.now = number / 30
        telemetry.count_push(200, "PUT", 100, started=clock.now - 0.5)
    assert values(telemetry, SIZE)[3:] == [360_000, 3600]
    assert values(telemetry, DURATION) == [0.5, 0.5, 0.5, 1800, 3600]
    minutes = telemetry.minutes()
    assert len(minutes) == 2
    assert sum(minute.pushes for minute in minutes) == 3600
    assert all(abs(minute.pushes - 1800) <= 30 for minute in minutes)  # those of a second
    assert {minute.p99 for minute in minutes} == {0.5}


def test_refused_pushes_are_counted(telemetry):
    assert family(telemetry, "pushgate_rejected_pushes_total") is None
    telemetry.rejected["body_bytes"] += 1
    rejected = family(telemetry, "pushgate_rejected_pushes_total").samples
    assert rejected == [("pushgate_rejected_pushes_total", (("reason", "body_bytes"),), 1)]


def test_a_gauge_is_read_at_each_scrape(telemetry):
    groups = ["a"]
    telemetry.show("pushgate_groups", "Groups stored.", lambda: len(groups))
    assert values(telemetry, "pushgate_groups") == [1]
    groups.append("b")
    assert values(telemetry, "pushgate_groups") == [2]
    assert telemetry.names()["pushgate_groups"] == ("gauge", "Groups stored.")


def test_families_on_pushes_belong_to_the_server_before_they_have_samples(telemetry):
    assert {REQUESTS, SIZE, DURATION} <= set(telemetry.names())
    assert telemetry.own(REQUESTS).type is MetricType.COUNTER
    assert telemetry.own(SIZE).type is MetricType.SUMMARY
    not_predefined = {n for n in telemetry.names() if not telemetry.own(n).predefined}
    assert not_predefined == {REQUESTS, SIZE, DURATION}
    assert telemetry.own("data_processed_bytes") is None


def test_what_is_known_of_a_family_is_what_is_exposed(telemetry):
    telemetry.rejected["groups"] += 1
    telemetry.count_push(200, "PUT", 1, started=-1)
    exposed = {head.name: (head.type.word, head.help) for head, _ in telemetry.families()}
    assert telemetry.names() == exposed


def test_two_servers_in_one_process_count_apart(telemetry):
    other = Telemetry()
    other.rejected["groups"] += 1
    assert family(telemetry, "pushgate_rejected_pushes_total") is None


def test_the_page_of_metrics_is_made_from_the_server():
    """If it is not: make docs."""
    assert (services.ROOT / "docs/metrics.md").read_text() == metricspage.page()


def test_the_page_of_metrics_has_every_metric_of_a_running_server(tmp_path):
    named = set(re.findall(r"^\| `(\w+)`", metricspage.page(), re.MULTILINE))
    (tmp_path / "rules.yml").write_text("rules: [{match: '{job=\"j\"}', expect_every: 1h}]")
    rules = f"--push.rules-file={tmp_path / 'rules.yml'}"
    with services.pushgate(rules, data=tmp_path / "data.db") as server:
        ask(server.port, "PUT", "/metrics/job/j", b"")
        shown = set(re.findall(r"^# TYPE (\w+)", server.get("/metrics"), re.MULTILINE))
    assert named - shown <= {"pushgate_storage_losses_total", "pushgate_rejected_pushes_total"}
    assert shown <= named

"""A real Prometheus scrapes what client_java pushed, in text and in protobuf."""

import math

import pytest

from tests import services
from tests.exchange import ask
from tests.interop.stored import ODD_VALUE, run, succeeded

CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: honored
    honor_labels: true
    static_configs: [{targets: ["127.0.0.1:%(port)d"]}]
  - job_name: renamed
    static_configs: [{targets: ["127.0.0.1:%(port)d"]}]
"""
GROUP = {"job": "from_java", "path": "/var/log", "x__": "y"}
# What the Java program observes.
COUNT, SUM = "6", "324.5"


@pytest.fixture(scope="module")
def gateway(gateway):
    """A gateway that holds a push of Java's client, and one of an instance."""
    address = f"127.0.0.1:{gateway.port}"
    push = [*services.find_java(), "Push", "push", address, "PROMETHEUS_PROTOBUF", "ALLOW_UTF8"]
    assert succeeded(run([*push, "from_java", "path=/var/log", "x.ä=y"]))
    answer = ask(gateway.port, "PUT", "/metrics/job/timer/instance/db1", b"timer_runs 3\n")
    assert answer.status == 200
    return gateway


@pytest.fixture(scope="module")
def text(gateway):
    with services.prometheus(CONFIG % {"port": gateway.port}) as service:
        yield service


@pytest.fixture(scope="module")
def protobuf(gateway):
    flag = "--enable-feature=native-histograms"  # then Prometheus 2 asks for protobuf
    with services.prometheus(CONFIG % {"port": gateway.port}, flag) as service:
        yield service


@pytest.fixture(params=["text", "protobuf"])
def prometheus(request):
    return request.getfixturevalue(request.param)


def value(prometheus, expression):
    [result] = services.query(prometheus, expression)
    return result["value"][1]


def test_a_native_histogram_has_count_sum_and_buckets(protobuf):
    series = 'java_seconds{job="from_java"}'

    assert value(protobuf, f"histogram_count({series})") == COUNT
    assert value(protobuf, f"histogram_sum({series})") == SUM
    assert 1.9 < float(value(protobuf, f"histogram_quantile(0.6, {series})")) < 2.1
    [result] = services.query(protobuf, series)
    counts = [count for *_, count in result["histogram"][1]["buckets"]]
    assert sorted(counts) == ["1", "1", "1", "1", "2"]


def test_in_text_the_same_histogram_is_classic(text):
    buckets = services.query(text, 'java_seconds_bucket{job="from_java"}')

    found = {float(one["metric"]["le"]): one["value"][1] for one in buckets}
    assert found == {1: "2", 10: "4", math.inf: COUNT}
    assert value(text, 'java_seconds_count{job="from_java"}') == COUNT
    assert value(text, 'java_seconds_sum{job="from_java"}') == SUM


def test_counters_summaries_and_info_arrive(prometheus):
    [rows] = services.query(prometheus, 'java_rows_total{job="from_java"}')
    assert (rows["value"][1], rows["metric"]["table"]) == ("42", ODD_VALUE)
    assert value(prometheus, 'java_sizes{job="from_java",quantile="0.5"}') == "2"
    assert value(prometheus, 'java_sizes_count{job="from_java"}') == COUNT
    assert value(prometheus, 'java_build_info{job="from_java",version="1.2"}') == "1"


def test_names_beyond_ascii_come_with_underscores(prometheus):
    [gauge] = services.query(prometheus, 'java_gr__e{job="from_java"}')

    assert gauge["value"][1] == "1.5"
    assert gauge["metric"] == {"__name__": "java_gr__e", **GROUP}


def test_with_honored_labels_the_pushed_job_and_instance_stay(prometheus):
    [runs] = services.query(prometheus, 'timer_runs{job="timer"}')
    [pushed] = services.query(prometheus, 'push_time_seconds{job="from_java"}')

    assert runs["metric"] == {"__name__": "timer_runs", "job": "timer", "instance": "db1"}
    assert pushed["metric"] == {"__name__": "push_time_seconds", **GROUP}


def test_without_they_are_renamed(prometheus, gateway):
    [runs] = services.query(prometheus, 'timer_runs{job="renamed"}')

    assert runs["metric"] == {
        "__name__": "timer_runs",
        "job": "renamed",
        "instance": f"127.0.0.1:{gateway.port}",
        "exported_job": "timer",
        "exported_instance": "db1",
    }


def test_every_scrape_succeeds(prometheus):
    services.query(prometheus, 'scrape_samples_scraped{job="honored"} > 30')

    assert value(prometheus, "count(up == 1)") == "2"

import os
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Info
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from pushgate import (
    ConfigurationError,
    EncodingError,
    PushGateway,
)
from tests.client.rogue import rogue
from tests.metrics_proto import decode


class Fixed:
    def __init__(self, *metrics):
        self.metrics = metrics

    def collect(self):
        return self.metrics


def render(*collectors, **options):
    gateway = PushGateway(properties=False, format="protobuf", **options)
    return decode(gateway.render(collectors).body)


def gauge(name, labels=(), values=(), number=1.0):
    family = GaugeMetricFamily(name, "", labels=labels)
    family.add_metric(values, number)
    return family


def twice(family, *values, **options):
    family.add_metric([], *values, **options)
    family.add_metric([], *values, **options)
    return family


def test_families_of_one_name_are_merged():
    families = render(Fixed(gauge("g", ["a"], ["1"])), Fixed(gauge("g", ["a"], ["2"])))
    assert [len(family.metric) for family in families] == [2]


@pytest.mark.parametrize(
    "collectors",
    [
        pytest.param([Fixed(gauge("g"), gauge("g"))], id="twice"),
        pytest.param([Fixed(twice(CounterMetricFamily("c", ""), 1, created=1))], id="counter"),
        pytest.param([Fixed(twice(SummaryMetricFamily("s", ""), 1, 2))], id="summary"),
        pytest.param([Fixed(twice(HistogramMetricFamily("h", ""), [("+Inf", 1)], 2))], id="hist"),
        pytest.param([Fixed(gauge("a.b"), gauge("a_b"))], id="same when escaped"),
        pytest.param([Fixed(gauge("g", ["x.y", "x_y"], ["1", "2"]))], id="labels escaped"),
    ],
)
def test_series_that_become_one_are_refused(collectors):
    with pytest.raises(EncodingError):
        render(*collectors)


def test_one_name_with_two_types_is_refused():
    with pytest.raises(EncodingError, match="as gauge and as counter; rename one"):
        render(Fixed(gauge("c_total")), Counter("c", "", registry=None))


@pytest.mark.parametrize("label", ["job", "region"])
def test_a_label_of_the_group_is_refused_in_a_metric(label):
    metrics = Fixed(gauge("g", [label], ["v"]))
    with pytest.raises(EncodingError, match="is also a label of the group"):
        render(metrics, grouping_key={"region": "eu"})
    assert render(metrics, grouping_key={"region": "eu"}, on_label_clash="allow")


def test_timestamps_are_refused_or_stripped():
    metric = Metric("g", "", "gauge")
    metric.add_sample("g", {}, 1, timestamp=1.5)
    with pytest.raises(EncodingError, match="timestamps='strip'"):
        render(Fixed(metric))
    [family] = render(Fixed(metric), timestamps="strip")
    assert not family.metric[0].HasField("timestamp_ms")


def test_a_sample_that_does_not_fit_its_family_is_untyped():
    metric = Metric("g", "", "gauge")
    metric.add_sample("g", {}, 1)
    metric.add_sample("g_limit", {}, 2)
    assert [(f.name, f.type) for f in render(Fixed(metric))] == [("g", 1), ("g_limit", 3)]


def test_chosen_names_only():
    registry = CollectorRegistry()
    for name in ("a", "b"):
        Gauge(name, "", registry=registry)
    Counter("c", "", registry=registry)
    gateway = PushGateway(registry=registry, properties=False)
    assert gateway.render(names=["a", "c_total"]).families == 2
    assert gateway.render(exclude=lambda name: name == "a").families == 2
    assert gateway.render(registry, names=[]).families == 0
    assert gateway.render(names="a").families == 1
    build = Info("build", "", registry=None)
    assert gateway.render(build, names="build").families == 1
    assert gateway.render(build, names="build_info").families == 1


@pytest.mark.parametrize("info", [None, {"version": "1"}])
def test_a_function_that_fails_is_named_by_its_metric(info):
    registry = CollectorRegistry(target_info=info)
    Gauge("sensor", "", registry=registry).set_function(lambda: 1 / 0)
    with pytest.raises(EncodingError, match="The collector sensor failed: ZeroDivisionError"):
        PushGateway(registry=registry, properties=False).render()


def test_what_is_no_collector_is_named_by_its_type():
    with pytest.raises(EncodingError, match="The collector str failed: AttributeError"):
        PushGateway(properties=False).render(["rows"])


def odd(kind, *samples, name="odd"):
    metric = Metric(name, "", kind)
    for suffix, labels, value in samples:
        metric.add_sample(name + suffix, labels, value)
    return metric


ODD = [
    pytest.param(odd("gauge", ("", {}, "five")), id="text for a value"),
    pytest.param(odd("gauge", ("", {}, None)), id="no value"),
    pytest.param(odd("gauge", ("", {"a": 1}, 1)), id="a number for a label"),
    pytest.param(odd("gauge", ("", {"a": "\udc00"}, 1)), id="a lone surrogate"),
    pytest.param(odd("gauge", ("", {"": "x"}, 1)), id="a label without a name"),
    pytest.param(odd("histogram", ("_bucket", {"le": "abc"}, 1)), id="le"),
    pytest.param(odd("histogram", ("_bucket", {}, 1)), id="no le"),
    pytest.param(odd("summary", ("", {"quantile": "50%"}, 1)), id="quantile"),
    pytest.param(odd("summary", ("_count", {}, float("nan"))), id="no count"),
    pytest.param(odd("summary", ("_count", {}, -1)), id="negative count"),
    pytest.param(odd("summary", ("_count", {}, 2.5)), id="broken count"),
]


@pytest.mark.parametrize("written_as", ["protobuf", "text"])
@pytest.mark.parametrize("metric", ODD)
def test_an_odd_sample_is_an_error_that_names_its_metric(metric, written_as):
    gateway = PushGateway(properties=False, format=written_as)
    with pytest.raises(EncodingError, match="odd"):
        gateway.render(Fixed(metric))


@pytest.mark.parametrize("written_as", ["protobuf", "text"])
def test_a_label_that_is_no_text_is_named(written_as):
    gateway = PushGateway(properties=False, format=written_as)
    with pytest.raises(EncodingError, match="pushed: the label 'a' is int instead of text"):
        gateway.render(Fixed(odd("gauge", ("", {"a": 1}, 1))))


def test_what_is_no_metric_is_named_by_its_type():
    with pytest.raises(EncodingError, match="a str cannot be pushed"):
        render(Fixed("rows"))


class Sensor:
    def collect(self):
        raise OSError("no such sensor")


def test_a_collector_that_fails_is_named():
    registry = CollectorRegistry(auto_describe=False)
    registry._collector_to_names[Sensor()] = []  # registering would call it
    for collector in (Sensor(), registry):
        with pytest.raises(EncodingError, match=r"Sensor\.collect failed: OSError: no such sensor"):
            render(collector)


def test_the_default_registry_goes_without_metrics_of_the_process():
    gauge = Gauge("only_this_one", "")
    try:
        gateway = PushGateway(job="j", properties=False)
        names = {family.name for family in decode(gateway.render().body)}
        every = gateway.replace(include_default_collectors=True).render()
    finally:
        REGISTRY.unregister(gauge)
    assert "only_this_one" in names
    assert not any(name.startswith(("python_", "process_")) for name in names)
    assert every.families > len(names)


MULTIPROCESS = """
import os, sys
from prometheus_client import Counter, Gauge
from pushgate import Histogram, PushGateway
counter = Counter("done", "")
size = Histogram("size", "", buckets=[1])
pid_gauge = Gauge("per_process", "")
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        counter.inc(2)
        size.observe(0.5)
        assert (size.count, size.sum) == (1, 0.5)
        pid_gauge.set(1)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
PushGateway(sys.argv[1], job="j", properties=False).push()
"""


def test_a_missing_multiprocess_directory_is_a_configuration_error(caller, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    with pytest.raises(ConfigurationError, match="a directory that exists"):
        caller.call(caller.make("h:1"), "push")


def test_the_metrics_of_all_processes_are_summed(tmp_path):
    with rogue() as server:
        done = subprocess.run(
            [sys.executable, "-c", MULTIPROCESS, server.url],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    families = {family.name: family for family in decode(server.seen[0].body)}
    assert families["done_total"].metric[0].counter.value == 6
    assert families["size"].metric[0].histogram.sample_count == 3
    assert "classic buckets only" in done.stderr
    assert "Traceback" not in done.stderr
    assert "The gauge per_process has a series per process" in done.stderr


def test_a_worker_that_was_killed_leaves_a_file_that_is_named(caller, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "counter_17.db").touch()
    with pytest.raises(EncodingError, match=r"counter_17\.db cannot be read .* delete it"):
        caller.call(caller.make("h:1"), "push")

import math

import pytest
from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Info, Summary
from prometheus_client.core import (
    GaugeHistogramMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.samples import BucketSpan, NativeHistogram

from pushgate import Histogram, PushGateway
from tests.metrics_proto import decode

VALUES = st.floats(allow_nan=False)


class Fixed:
    """A collector of ready-made metrics."""

    def __init__(self, *metrics):
        self.metrics = metrics

    def collect(self):
        return self.metrics


def pushed(*collectors, **options):
    options = {"properties": False, "format": "protobuf", **options}
    return {f.name: f for f in decode(PushGateway(**options).render(collectors).body)}


def test_every_type_arrives_under_its_final_name():
    registry = CollectorRegistry()
    Counter("requests", "Requests", registry=registry).inc(2)
    Gauge("size", "", registry=registry).set(-1.5)
    Summary("latency", "Latency", registry=registry).observe(3)
    Info("build", "Build", registry=registry).info({"version": "1"})
    Enum("state", "State", states=["on", "off"], registry=registry).state("off")
    families = pushed(registry, Fixed(UnknownMetricFamily("odd", "Odd", value=7)))
    assert {name: family.type for name, family in families.items()} == {
        "build_info": 1,
        "latency": 2,
        "odd": 3,
        "requests_total": 0,
        "size": 1,
        "state": 1,
    }
    assert families["requests_total"].metric[0].counter.value == 2
    assert families["requests_total"].metric[0].counter.created_timestamp.seconds > 1e9
    assert not families["size"].HasField("help")
    assert families["latency"].metric[0].summary.sample_sum == 3
    states = {m.label[0].value: m.gauge.value for m in families["state"].metric}
    assert states == {"on": 0, "off": 1}


def test_the_stream_is_sorted_by_name_and_leaves_out_empty_families():
    registry = CollectorRegistry()
    for name in ("b", "c", "a"):
        Gauge(name, "", registry=registry)
    Gauge("labelled", "", ["l"], registry=registry)
    assert list(pushed(registry)) == ["a", "b", "c"]


@given(st.dictionaries(st.text(max_size=300), VALUES, max_size=5))
def test_any_label_value_and_number_survives(series):
    gauge = Gauge("g", "h", ["l"], registry=None)
    for value, number in series.items():
        gauge.labels(value).set(number)
    families = pushed(gauge)
    read = {m.label[0].value: m.gauge.value for f in families.values() for m in f.metric}
    assert read == series


@given(st.lists(st.floats(), max_size=30))
def test_a_histogram_has_classic_and_native_buckets(values):
    histogram = Histogram("h", "", buckets=[1, 2], registry=None, properties=False)
    for value in values:
        histogram.observe(value)
    numbers = [value for value in values if not math.isnan(value)]
    read = pushed(histogram)["h"].metric[0].histogram
    assert read.sample_count == len(numbers)
    assert [b.upper_bound for b in read.bucket] == [1, 2, math.inf]
    assert [b.cumulative_count for b in read.bucket] == [
        sum(value <= bound for value in numbers) for bound in (1, 2, math.inf)
    ]
    assert native_total(read) == len(numbers)
    assert read.schema == 5


def native_total(histogram):
    total = histogram.zero_count
    for deltas in (histogram.positive_delta, histogram.negative_delta):
        count = 0
        for delta in deltas:
            count += delta
            total += count
    return total


def test_an_empty_native_histogram_without_zero_bucket_does_not_look_classic():
    histogram = Histogram(
        "h", "", classic=False, min_zero_threshold=0, max_zero_threshold=0, registry=None
    )
    read = pushed(histogram)["h"].metric[0].histogram
    assert [(span.offset, span.length) for span in read.positive_span] == [(0, 0)]


def test_exemplars_go_along():
    counter = Counter("c", "", registry=None)
    counter.inc(1, {"trace_id": "abc"})
    histogram = Histogram("h", "", buckets=[1], registry=None)
    histogram.observe(0.5, exemplar={"trace_id": "def"})
    families = pushed(counter, histogram)
    exemplar = families["c_total"].metric[0].counter.exemplar
    assert (exemplar.label[0].value, exemplar.value) == ("abc", 1)
    read = families["h"].metric[0].histogram
    assert read.bucket[0].exemplar.label[0].value == "def"
    assert read.exemplars[0].value == 0.5
    assert read.exemplars[0].timestamp.seconds > 1e9


def test_a_native_histogram_of_prometheus_client_itself_is_understood():
    native = NativeHistogram(3, 6.0, 2, 0.001, 1, [BucketSpan(0, 2)], [], [1, 0], [])
    metric = Metric("h", "", "histogram")
    metric.add_sample("h", {"l": "v"}, None, native_histogram=native)
    read = pushed(Fixed(metric))["h"].metric[0].histogram
    assert (read.sample_count, read.schema, list(read.positive_delta)) == (3, 2, [1, 0])


def test_foreign_histograms_and_fractional_counts():
    classic = HistogramMetricFamily("h", "", buckets=[("1", 0.5), ("+Inf", 1.5)], sum_value=2)
    gauge = GaugeHistogramMetricFamily("g", "", buckets=[("+Inf", 2)], gsum_value=-4)
    families = pushed(Fixed(classic, gauge))
    assert families["h"].metric[0].histogram.bucket[0].cumulative_count_float == 0.5
    assert families["h"].metric[0].histogram.sample_count_float == 1.5
    assert families["g"].type == 5
    assert families["g"].metric[0].histogram.sample_sum == -4


def test_names_are_written_in_the_chosen_scheme():
    gauge = Gauge("http.server", "", ["a:b"], registry=None)
    gauge.labels("v").set(1)
    for scheme, name, label in [
        ("underscores", "http_server", "a_b"),
        ("dots", "http_dot_server", "a__b"),
        ("values", "U__http_2e_server", "U__a_3a_b"),
    ]:
        family = pushed(gauge, escaping_scheme=scheme)[name]
        assert family.metric[0].label[0].name == label


def test_created_gauges_only_on_request():
    counter = Counter("c", "", registry=None)
    assert list(pushed(counter)) == ["c_total"]
    assert list(pushed(counter, include_created=True)) == ["c_created", "c_total"]


@pytest.mark.parametrize("fmt", ["protobuf", "text"])
def test_invalid_unicode_is_an_encoding_error(fmt):
    from pushgate import EncodingError

    gauge = Gauge("g", "", ["l"], registry=None)
    gauge.labels("\ud800").set(1)
    with pytest.raises(EncodingError, match="Unicode"):
        pushed(gauge, format=fmt)

import pytest
from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Summary
from prometheus_client.parser import text_string_to_metric_families

from pushgate import Histogram, PushGateway


def text(*collectors, **options):
    gateway = PushGateway(format="text", properties=False, **options)
    payload = gateway.render(collectors)
    assert payload.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return payload.body.decode()


def test_each_type_in_text():
    registry = CollectorRegistry()
    Counter("c", "Line\nand \\", registry=registry).inc()
    Gauge("g", "", ["l"], registry=registry).labels('"\\\n').set(1e20)
    Summary("s", "Sum", registry=registry).observe(2)
    Histogram("h", "Hist", buckets=[0.5], registry=registry).observe(0.25)
    assert text(registry) == (
        "# HELP c_total Line\\nand \\\\\n# TYPE c_total counter\nc_total 1\n"
        '# TYPE g gauge\ng{l="\\"\\\\\\n"} 1e+20\n'
        '# HELP h Hist\n# TYPE h histogram\nh_bucket{le="0.5"} 1\nh_bucket{le="+Inf"} 1\n'
        "h_sum 0.25\nh_count 1\n"
        "# HELP s Sum\n# TYPE s summary\ns_sum 2\ns_count 1\n"
    )


def test_a_native_only_histogram_has_one_bucket_in_text():
    histogram = Histogram("h", "", classic=False, registry=None)
    histogram.observe(3)
    assert text(histogram) == ('# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 3\nh_count 1\n')


def test_names_that_are_not_legacy_are_quoted():
    gauge = Gauge("http.size", "Size", ["a.b", "c"], registry=None)
    gauge.labels("x", "y").set(1)
    assert text(gauge, escaping_scheme="allow-utf-8") == (
        '# HELP "http.size" Size\n# TYPE "http.size" gauge\n{"http.size","a.b"="x",c="y"} 1\n'
    )


@given(st.dictionaries(st.text().filter(lambda v: "\r" not in v), st.floats(), max_size=4))
def test_prometheus_client_reads_what_we_write(series):
    gauge = Gauge("g", "h", ["l"], registry=None)
    for value, number in series.items():
        gauge.labels(value).set(number)
    families = list(text_string_to_metric_families(text(gauge)))
    read = {s.labels["l"]: s.value for family in families for s in family.samples}
    assert read == pytest.approx(series, nan_ok=True, rel=0, abs=0)

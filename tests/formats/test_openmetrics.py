"""OpenMetrics bodies: what they become, against prometheus_client's parser, and what is refused."""

import math
from contextlib import suppress

import pytest
from hypothesis import example, given, strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.core import GaugeHistogramMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pushgate.client import protobuf
from pushgate.client.families import gather
from pushgate.errors import InvalidBody, TextFormatError
from pushgate.formats.openmetrics import read_openmetrics
from pushgate.formats.protobuf.reader import decode
from pushgate.formats.text import TextReader
from pushgate.model.family import MetricType
from pushgate.model.names import NameRule
from pushgate.model.shape import Pushed
from tests.fuzz.schema import message_class

EXEMPLAR = {"trace_id": "abc"}


def read(text: str) -> Pushed:
    return read_openmetrics(text.encode())


def series(pushed: Pushed) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a text exposition of *pushed* shows, grouping labels left out."""
    out = {}
    numbers = iter(map(float, pushed.numbers.split()))
    for family in pushed.shape.families:
        for metric, labels in enumerate(family.labels):
            if family.type.is_simple:
                out[family.name, frozenset(labels)] = next(numbers)
                continue
            suffix, own = ("_bucket", "le") if family.type.is_histogram else ("", "quantile")
            for bound in family.bounds[metric]:
                out[family.name + suffix, frozenset((*labels, (own, bound)))] = next(numbers)
            out[f"{family.name}_sum", frozenset(labels)] = next(numbers)
            out[f"{family.name}_count", frozenset(labels)] = next(numbers)
    assert next(numbers, None) is None
    return out


def expected_series(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    out = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            name = sample.name.replace("_gcount", "_count").replace("_gsum", "_sum")
            labels = dict(sample.labels)
            for own in {"le", "quantile"} & labels.keys():
                labels[own] = "+Inf" if labels[own] == "+Inf" else f"{float(labels[own]):g}"
            out[name, frozenset(labels.items())] = sample.value
    return out


def all_types() -> CollectorRegistry:
    registry = CollectorRegistry()
    jobs = Counter("jobs", "Jobs\ndone \\ ", ["kind"], registry=registry)
    jobs.labels('a"\\\n').inc(3, EXEMPLAR)
    jobs.labels("").inc(0.5)
    Gauge("size", "Size", unit="bytes", registry=registry).set(-1e7)
    seconds = Histogram("seconds", "Time", ["le_x"], buckets=(0.5, 1e6), registry=registry)
    seconds.labels("1").observe(0.25, EXEMPLAR)
    seconds.labels("2").observe(4)
    Summary("read", "Read", registry=registry).observe(7)
    Info("build", "Build", registry=registry).info({"version": "1"})
    Enum("state", "State", states=["up", "down"], registry=registry).state("down")
    return registry


class Fixed:
    """A collector of given metrics."""

    def __init__(self, *metrics: Metric) -> None:
        self.metrics = metrics

    def collect(self):
        return self.metrics


def test_what_a_registry_exposes_arrives_with_the_same_values():
    text = generate_latest(all_types()).decode()
    assert series(read(text)) == expected_series(text)


def test_a_registry_arrives_as_the_same_push_as_through_protobuf():
    registry = all_types()
    expected = decode(b"".join(map(protobuf.encode, gather(registry.collect()))))
    pushed = read_openmetrics(generate_latest(registry))
    families = {
        family.name: family._replace(untyped_as_text=False) for family in pushed.shape.families
    }
    assert families == {family.name: family for family in expected.shape.families}
    assert sorted(pushed.numbers.split()) == sorted(expected.numbers.split())


def test_types_become_those_of_the_gateway():
    registry = all_types()
    registry.register(Fixed(GaugeHistogramMetricFamily("gh", "", [("1", 2), ("+Inf", 3)], 9)))
    registry.register(Fixed(UnknownMetricFamily("odd", "", 1)))
    pushed = read_openmetrics(generate_latest(registry))
    assert {family.name: family.type for family in pushed.shape.families} == {
        "jobs_total": MetricType.COUNTER,
        "size_bytes": MetricType.GAUGE,
        "seconds": MetricType.HISTOGRAM,
        "read": MetricType.SUMMARY,
        "build_info": MetricType.GAUGE,
        "state": MetricType.GAUGE,
        "gh": MetricType.GAUGE_HISTOGRAM,
        "odd": MetricType.UNTYPED,
    }


def test_a_counter_keeps_its_exemplar_and_when_it_was_created():
    pushed = read(
        "# TYPE foo counter\n"
        'foo_total 17 # {trace_id="a\\"b",x=""} 0.5 1520879607.789\n'
        "foo_created 1520430000.123\n# EOF\n"
    )
    (detail,) = pushed.details
    counter = message_class("Metric").FromString(detail).counter
    created, exemplar = counter.created_timestamp, counter.exemplar
    assert counter.value == 17
    assert (created.seconds, created.nanos) == (1520430000, 123_000_000)
    assert [(pair.name, pair.value) for pair in exemplar.label] == [
        (b"trace_id", b'a"b'),
        (b"x", b""),
    ]
    assert exemplar.value == 0.5
    assert (exemplar.timestamp.seconds, exemplar.timestamp.nanos) == (1520879607, 789_000_000)


def test_buckets_keep_their_exemplars_and_plain_metrics_need_no_detail():
    pushed = read(
        "# TYPE h histogram\n"
        'h_bucket{le="1.0"} 2 # {} 0.5\n'
        'h_bucket{le="+Inf"} 3 # {t="u"} 8\n'
        "h_count 3\nh_sum 9\nh_created 12\n"
        "# TYPE g gauge\ng 1\n# EOF"
    )
    wire, nothing = pushed.details
    histogram = message_class("Metric").FromString(wire).histogram
    assert nothing == b""
    assert [bucket.exemplar.value for bucket in histogram.bucket] == [0.5, 8]
    assert [bucket.cumulative_count for bucket in histogram.bucket] == [2, 3]
    assert (histogram.sample_count, histogram.sample_sum) == (3, 9)
    assert histogram.created_timestamp.seconds == 12


def test_a_push_without_exemplars_and_creation_times_has_no_details():
    assert read("# TYPE c counter\nc_total 1\n# EOF\n").details == ()


def test_a_timestamp_marks_the_push_so_that_the_store_refuses_it():
    assert read("a 1 1520879607.789\n# EOF\n").timestamped
    assert read("# TYPE c counter\nc_total 1 2 # {} 1 3\n# EOF\n").timestamped
    assert read("# TYPE c counter\nc_total 1\nc_created 1 2\n# EOF\n").timestamped
    assert read("a 1 1\na 2 2\n# EOF\n").timestamped
    assert not read("# TYPE c counter\nc_total 1 # {} 1 3\n# EOF\n").timestamped


@pytest.mark.parametrize(
    ("number", "canonical"),
    [("1.", b"1"), (".5", b"0.5"), ("+1E6", b"1e+06"), ("nan", b"NaN"), ("-Infinity", b"-Inf")],
)
def test_numbers_are_stored_in_canonical_form(number, canonical):
    assert read(f"# TYPE g gauge\ng {number}\n# EOF\n").numbers == canonical


def test_a_missing_sum_is_zero_and_a_missing_count_that_of_the_last_bucket():
    pushed = read('# TYPE h histogram\nh_bucket{le="-1"} 2\nh_bucket{le="+Inf"} 5\n# EOF\n')
    assert pushed.numbers == b"2 5 0 5"


def test_an_empty_set_is_an_empty_push():
    assert read("# EOF\n").shape.families == ()
    assert read("# TYPE a gauge\n# HELP a nothing yet\n# EOF").shape.families == ()


HISTOGRAM = "# TYPE h histogram\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a 1\n", 2, "the body ends without # EOF: it was cut off, or that last line is missing"),
        ("# EOF\na 1\n", 2, "nothing may follow # EOF"),
        ("a 1\n\n# EOF\n", 2, "an empty line; OpenMetrics has none"),
        ("a\xff\n# EOF\n", 1, 'expected labels in braces in column 2, found "ÿ"'),
        ("# hello\n# EOF", 1, "expected # TYPE, # HELP, # UNIT (there are no comments) or # EOF"),
        ("# TYPE a untyped\n# EOF", 1, 'the type "untyped" is none of counter, gauge'),
        ("# TYPE a gauge\n# TYPE a gauge\n# EOF", 2, "a has a TYPE line already"),
        ("a 1\n# HELP a b\n# EOF", 2, "HELP of a has to stand before its samples"),
        ('a 1\nb 1\na{x="1"} 1\n# EOF', 3, "the lines of a have to stand together"),
        ("# UNIT a_s bytes\n# EOF", 1, "the name of a_s has to end with its unit, _bytes"),
        ("# UNIT a_s s\n# TYPE a_s info\n# EOF", 2, "a_s has the type info, which has no unit"),
        ("a  1\n# EOF", 1, 'expected a number in column 3, found " 1"'),
        ("a 1e999\n# EOF", 1, 'expected a number that fits a double in column 3, found "1e999"'),
        ("a 1 \n# EOF", 1, "expected a time in seconds in column 5, found the end of the line"),
        ("a 1 1 1\n# EOF", 1, 'expected the end of the line in column 6, found " 1"'),
        ("a 1 1e99\n# EOF", 1, "the time 1e99 is not in the years 1 to 9999"),
        ('a{x="1" y="2"} 1\n# EOF', 1, "expected a comma or a closing brace in column 8"),
        ('a{x="1",} 1\n# EOF', 1, 'expected a label such as name="value" in column 9'),
        ('a{x="1",x="2"} 1\n# EOF', 1, "the label x comes twice"),
        ('a{__name__="b"} 1\n# EOF', 1, "the label __name__ is reserved"),
        ("a 1\na 1\n# EOF", 2, "this sample comes twice"),
        ("a 1 # {} 1\n# EOF", 1, "only counters and buckets have exemplars"),
        ("# TYPE c counter\nc_total -1\n# EOF", 2, "the value of a counter has to be 0 or more"),
        ("# TYPE c counter\nc_total NaN\n# EOF", 2, "the value of a counter has to be 0 or more"),
        ("# TYPE c counter\nc 1\n# EOF", 2, "c is no sample of the counter c: expected c_total"),
        ("# TYPE c_total counter\nc_total 1\n# EOF", 2, "TYPE and HELP name a counter without"),
        ("# TYPE c counter\nc_created 1\n# EOF", 2, "there is no c_total to this c"),
        ("# TYPE i info\ni_info 2\n# EOF", 2, "the value of a info has to be 1"),
        ("# TYPE i info\ni_info 1\ni_info_x 1\ni_info 1\n# EOF", 4, "both called i_info"),
        ("# TYPE s stateset\ns 1\n# EOF", 2, "a state of s has to have the label s"),
        ('# TYPE s stateset\ns{s="a"} 2\n# EOF', 2, "the value of a stateset has to be 0 or 1"),
        ('# TYPE s summary\ns{quantile="2"} 1\n# EOF', 2, "the label quantile has to be a number"),
        (f'{HISTOGRAM}h_bucket{{x="y"}} 1\n# EOF', 2, "the label le has to be a number"),
        (f'{HISTOGRAM}h_count{{le="1"}} 1\n# EOF', 2, "and on no other sample"),
        (f'{HISTOGRAM}h_bucket{{le="1"}} 1\n# EOF', 2, 'a last bucket with le="+Inf" is missing'),
        (
            f'{HISTOGRAM}h_bucket{{le="1"}} 2\nh_bucket{{le="+Inf"}} 1\n# EOF',
            3,
            "a bucket counts less than the one before it; buckets are cumulative",
        ),
        (
            f'{HISTOGRAM}h_bucket{{le="+Inf"}} 2\nh_count 1\n# EOF',
            3,
            'the count is not that of the bucket with le="+Inf"',
        ),
        (
            f'# TYPE c counter\nc_total 1 # {{x="{"y" * 128}"}} 1\n# EOF',
            2,
            "the labels of an exemplar have 128 characters at most",
        ),
    ],
)
def test_an_error_names_the_line_and_what_was_expected(text, line, reason):
    with pytest.raises(TextFormatError) as refused:
        read(text)
    assert refused.value.line == line
    assert reason in refused.value.reason


def test_a_body_that_is_not_utf8_is_refused_with_its_line():
    with pytest.raises(TextFormatError, match="line 2: this is not UTF-8"):
        read_openmetrics(b'a 1\nb{x="\xff"} 1\n# EOF\n')


@given(st.binary())
@example(b"# EOF")
def test_any_bytes_are_read_or_refused(body):
    with suppress(InvalidBody):
        read_openmetrics(body)


PIECES = st.sampled_from(
    [
        *(*' {}=,#"\n\\', "# TYPE ", "# EOF\n", "# HELP ", "# UNIT ", "a", "a_total", "_bucket"),
        *(" histogram\n", " counter\n", " info\n", "_created", 'le="+Inf"', "1", "-1", "NaN"),
        *("1e9", " # {} "),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_almost_openmetrics_is_read_or_refused(text):
    with suppress(InvalidBody):
        read(text + "# EOF\n")


VALUES = st.floats(allow_nan=False)
LABELS = st.dictionaries(st.sampled_from("abc"), st.text(st.characters(codec="utf-8")), max_size=2)


@given(st.lists(st.tuples(LABELS, VALUES), unique_by=lambda pair: frozenset(pair[0].items())))
def test_gauges_with_any_labels_and_values_arrive(samples):
    metric = Metric("g", 'any "help" \\ \n', "gauge")
    for labels, value in samples:
        metric.add_sample("g", labels, value)
    text = generate_latest(Fixed(metric)).decode()
    pushed = read(text)
    assert series(pushed) == {("g", frozenset(lb.items())): value for lb, value in samples}
    assert all(family.help == metric.documentation for family in pushed.shape.families)


@given(
    st.lists(st.floats(0, 1e300, exclude_min=True), unique=True, max_size=4).map(sorted),
    st.lists(st.integers(0, 2**40), min_size=5, max_size=5).map(sorted),
)
def test_histograms_with_any_buckets_arrive(bounds, counts):
    bounds = [*bounds, math.inf]
    registry = Metric("h", "", "histogram")
    for bound, count in zip(bounds, counts, strict=False):
        registry.add_sample("h_bucket", {"le": str(bound).replace("inf", "+Inf")}, count)
    pushed = read_openmetrics(generate_latest(Fixed(registry)))
    (family,) = pushed.shape.families
    assert [float(bound) for bound in family.bounds[0]] == bounds
    total = counts[len(bounds) - 1]
    assert [*map(float, pushed.numbers.split())] == [*counts[: len(bounds)], 0, total]


@pytest.mark.parametrize("count", ["+Inf", "2.5", "1e300", "7"])
def test_counts_of_summaries_are_whole_as_in_the_text_format(count):
    body = f"# TYPE s summary\ns_count {count}\n".encode()
    assert read(f"{body.decode()}# EOF\n").numbers == TextReader(NameRule.UTF8).read(body).numbers

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given

from pushgate.formats.protobuf.description import Described, count_text, describe
from pushgate.model.family import MetricType
from pushgate.model.numbers import go_float
from tests.formats.protobuf.bodies import VALUES
from tests.fuzz.schema import message_class

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "native_buckets.json").read_text())


def detail(**value) -> bytes:
    return message_class("Metric")(**value).SerializeToString()


@pytest.mark.parametrize("recorded", RECORDED["histograms"])
def test_native_buckets_are_those_of_the_reference(recorded):
    described = describe(base64.b64decode(recorded["value"]), MetricType.HISTOGRAM)
    assert described is not None
    assert described.native is not None
    shown = [
        [kind, go_float(lower), go_float(upper), count_text(population)]
        for kind, lower, upper, population in described.native
    ]
    assert shown == recorded["buckets"]
    assert described.total == recorded["count"]


def test_large_counts_keep_every_digit():
    buckets = [{"cumulative_count": 2**53 + 1, "upper_bound": 1}]
    histogram = {"sample_count": 2**64 - 1, "bucket": buckets}
    described = describe(detail(histogram=histogram), MetricType.HISTOGRAM)
    assert described is not None
    assert described.total == "18446744073709551615"
    assert [*described.buckets] == ["9007199254740993"]
    assert describe(detail(summary={"sample_count": 2**53 + 1}), MetricType.SUMMARY) == Described(
        "9007199254740993"
    )


def test_of_a_metric_that_is_both_the_type_of_the_family_tells_which_is_described():
    both = detail(summary={"sample_count": 1}, histogram={"sample_count": 2, "bucket": [{}]})
    described = describe(both, MetricType.HISTOGRAM)
    assert described is not None
    assert (described.total, [*described.buckets]) == ("2", ["0"])
    assert describe(both, MetricType.SUMMARY) == Described("1")


def test_float_counts_are_shown_as_floats():
    buckets = [{"cumulative_count_float": 1e6, "upper_bound": 1}]
    histogram = {"sample_count_float": 2.5, "bucket": buckets}
    described = describe(detail(histogram=histogram), MetricType.HISTOGRAM)
    assert described is not None
    assert (described.total, [*described.buckets]) == ("2.5", ["1e+06"])


def test_counts_below_zero_wrap_as_the_unsigned_ones_of_the_reference_do():
    span = [{"offset": 0, "length": 1}]
    described = describe(
        detail(histogram={"positive_span": span, "positive_delta": [-1]}), MetricType.HISTOGRAM
    )
    assert described is not None
    assert described.native is not None
    assert [*described.native] == [(0, 0.5, 1.0, 2**64 - 1)]


@pytest.mark.parametrize("value", [{"counter": {"value": 1}}, {}])
def test_other_values_have_nothing_to_describe(value):
    assert describe(detail(**value), MetricType.HISTOGRAM) is None


@given(VALUES["histogram"])
def test_any_histogram_can_be_described(histogram):
    described = describe(detail(histogram=histogram), MetricType.HISTOGRAM)
    assert described is not None
    assert len([*described.buckets]) == len(histogram.bucket)

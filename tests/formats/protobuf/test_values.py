"""Values of metrics as bytes of their messages, read back by protobuf's own runtime."""

import pytest
from hypothesis import given, strategies as st

from pushgate.formats.protobuf.values import double, encoded, packed
from pushgate.formats.protobuf.wire import field
from pushgate.model.family import MetricType
from tests.metrics_proto import MetricFamily


def message(value: bytes):
    """Return the Metric message that consists of *value*."""
    [metric] = MetricFamily.FromString(field(4, value)).metric
    return metric


@given(st.floats(allow_nan=False))
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (MetricType.COUNTER, "counter"),
        (MetricType.GAUGE, "gauge"),
        (MetricType.UNTYPED, "untyped"),
    ],
)
def test_a_simple_value_is_one_number(kind, name, number):
    metric = message(encoded(kind, (), [number]))
    assert metric.HasField(name)
    assert double(getattr(metric, name).value) == double(number)


@pytest.mark.parametrize(("count", "told"), [(3, 3), (1e300, 2**64 - 1), (0, 0)])
def test_a_summary_has_its_quantiles_sum_and_count(count, told):
    value = encoded(MetricType.SUMMARY, [*packed(["0.5", "0.9"])], [1, 2, 3.5, count])
    summary = message(value).summary
    assert [(q.quantile, q.value) for q in summary.quantile] == [(0.5, 1), (0.9, 2)]
    assert (summary.sample_sum, summary.sample_count) == (3.5, told)


@pytest.mark.parametrize("kind", [MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM])
def test_a_histogram_of_whole_counts(kind):
    histogram = message(
        encoded(kind, [*packed(["1", "+Inf"])], [2.0, 3000.0, 4.5, 3000.0])
    ).histogram
    assert [(b.upper_bound, b.cumulative_count) for b in histogram.bucket] == [
        (1, 2),
        (float("inf"), 3000),
    ]
    assert (histogram.sample_sum, histogram.sample_count) == (4.5, 3000)
    assert not histogram.sample_count_float


@pytest.mark.parametrize("numbers", [[0.5, 2.0, 4.5, 2.0], [1.0, 2.0, 4.5, 2.5]])
def test_one_count_that_is_not_whole_makes_all_floats(numbers):
    histogram = message(encoded(MetricType.HISTOGRAM, [*packed(["1", "+Inf"])], numbers)).histogram
    assert [b.cumulative_count_float for b in histogram.bucket] == numbers[:2]
    assert (histogram.sample_sum, histogram.sample_count_float) == tuple(numbers[2:])
    assert not histogram.sample_count

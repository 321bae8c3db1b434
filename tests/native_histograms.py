"""Native histograms as protobuf, right ones and wrong ones."""

from pushgate.formats.protobuf.messages import message_class


def native(positive=([], []), positive_floats=([], []), **fields):
    """A family ``h``; *positive* are its spans and deltas, *positive_floats* spans and counts."""
    family = message_class("MetricFamily")(name=b"h", type=4)
    histogram = family.metric.add().histogram
    values = {"schema": 0, "sample_sum": 1.0, "zero_threshold": 0.001, **fields}
    for name, value in values.items():
        setattr(histogram, name, value)
    for offset, length in (*positive[0], *positive_floats[0]):
        histogram.positive_span.add(offset=offset, length=length)
    histogram.positive_delta.extend(positive[1])
    histogram.positive_count.extend(positive_floats[1])
    return family

import pytest
from hypothesis import given, strategies as st

from pushgate.cli.metrics_text import joined, read_metrics
from pushgate.errors import EncodingError
from pushgate.model.family import MetricType

NAMES = st.sampled_from(["rows", "size_bytes"])
TEXTS = st.text(st.sampled_from('a }{#,="1\\\n'), max_size=8)


def escaped(value):
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


@given(NAMES, TEXTS, st.integers(-(10**6), 10**6), st.integers(0, 10**13))
def test_any_timestamp_is_found_and_stripped_whatever_the_labels_hold(name, label, value, time):
    series = f'{name}{{a="{escaped(label)}"}} {value}'
    text = f"# HELP {name} 1 2 3\n{series} {time}\n".encode()
    with pytest.raises(EncodingError, match=f"x, line 2: {name} has a timestamp"):
        read_metrics(text, "x")
    stripped = read_metrics(text, "x", strip_timestamps=True)
    assert stripped.body.decode() == f"# HELP {name} 1 2 3\n{series}\n"


@given(st.binary(max_size=60))
def test_any_bytes_are_metrics_or_an_encoding_error(data):
    try:
        text = read_metrics(data, "x", group_labels={"a"}, strip_timestamps=True)
    except EncodingError:
        return
    assert text.series >= len(text.types) >= 0


def test_a_body_knows_its_families_and_series():
    text = read_metrics(
        b'# TYPE h histogram\nh_bucket{le="1"} 1\nh_count 1\nrows{a="b"} 1\nrows 2', "x"
    )
    assert text.types == {"h": MetricType.HISTOGRAM, "rows": MetricType.UNTYPED}
    assert text.series == 3


def test_quoted_names_are_read_and_named():
    text = read_metrics(b'{"a.b",x="y"} 1\n', "x")
    assert text.types == {"a.b": MetricType.UNTYPED}
    with pytest.raises(EncodingError, match=r"x, line 1: a\.b has the label 'x'"):
        read_metrics(b'{"a.b",x="y"} 1\n', "x", group_labels={"x"})


def test_texts_with_one_family_are_joined_without_their_second_comments():
    first = read_metrics(b'# TYPE rows gauge\nrows{f="1"} 1\n', "one")
    second = read_metrics(
        b'# HELP rows x\n# TYPE rows gauge\nrows{f="2"} 2\n# TYPE b gauge\nb 1', "two"
    )
    both = joined([("one", first), ("two", second)])
    assert both.body == (b'# TYPE rows gauge\nrows{f="1"} 1\nrows{f="2"} 2\n# TYPE b gauge\nb 1\n')
    assert read_metrics(both.body, "both").series == both.series == 3


def test_openmetrics_with_exemplars_and_created_times_needs_no_library_of_the_server(monkeypatch):
    monkeypatch.setattr("pushgate.formats.openmetrics.message_class", None)  # needs protobuf
    text = b'# TYPE rows counter\nrows_total 3 # {a="b"} 1\nrows_created 1700000000\n# EOF\n'
    assert read_metrics(text, "x").body == b"# TYPE rows_total counter\nrows_total 3\n"


def test_two_ways_to_write_times_of_a_series_are_refused():
    with pytest.raises(EncodingError, match="one series has times both"):
        read_metrics(b"# TYPE a gauge\na 1 1\na 1 1e3\n# EOF\n", "x")


def test_openmetrics_becomes_text():
    text = read_metrics(b'# TYPE rows counter\nrows_total 3 # {a="b"} 1\n# EOF\n', "x")
    assert text.body == b"# TYPE rows_total counter\nrows_total 3\n"

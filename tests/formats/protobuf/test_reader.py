import itertools
import math

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import InvalidBody
from pushgate.formats.protobuf.messages import VALUE_FIELDS
from pushgate.formats.protobuf.reader import ProtobufReader, decode, scan
from pushgate.formats.protobuf.wire import varint
from pushgate.model.family import MetricType
from pushgate.model.numbers import go_float
from pushgate.model.shape import Pushed
from tests.examples import few_large_examples
from tests.formats.protobuf.bodies import (
    BODIES,
    FAMILIES,
    body,
    family,
    labels,
    recorded,
    renumbered,
)
from tests.fuzz.schema import message_class

PUSHES = recorded()
REFUSED_BY_THE_PARSER = {"trunc varint", "garbage", "text body"}


def gauge(name: bytes = b"g", *values: float, **label: str):
    metrics = [
        {"label": labels(**label, i=str(i)), "gauge": {"value": v}} for i, v in enumerate(values)
    ]
    return family(name=name, type=MetricType.GAUGE, metric=metrics)


def histogram(**fields):
    return family(name=b"h", type=MetricType.HISTOGRAM, metric=[{"histogram": fields}])


def read(sent: bytes) -> Pushed:
    """Read *sent* as a server that has never seen the like, and as one that has."""
    reader = ProtobufReader()
    pushed = reader.read(sent)
    for _ in range(3):
        assert reader.read(sent) == pushed
    return pushed


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except InvalidBody as error:
        return str(error)


def said(function, sent: bytes):
    """What *sent* pushes, by value: a shape with new label values is an object of its own."""
    found = outcome(function, sent)
    return found if isinstance(found, str) else (found.shape.families, found.shape.names, found[1:])


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(value)) + value


NAMED = field(1, b"h")
LARGEST, TOO_LARGE = b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x02"
ZERO_COUNT = b"\x38"
INTEGERS = {
    "the type": lambda number: NAMED + b"\x18" + number,
    "an unknown field": lambda number: NAMED + b"\x38" + number,
    "an unknown group": lambda number: NAMED + b"\x3b\x08" + number + b"\x3c",
    "a count": lambda number: NAMED + b"\x18\x04" + field(4, field(7, b"\x08" + number)),
    "a zero count": lambda number: NAMED + b"\x18\x04" + field(4, field(7, ZERO_COUNT + number)),
    "packed deltas": lambda number: NAMED + b"\x18\x04" + field(4, field(7, field(13, number))),
    "a time": lambda number: NAMED + field(4, field(3, field(3, b"\x08" + number))),
}


@pytest.mark.parametrize("place", INTEGERS)
def test_integers_of_more_than_64_bits_are_refused_as_by_the_reference(place):
    fits, does_not = (INTEGERS[place](number) for number in (LARGEST, TOO_LARGE))
    reader = ProtobufReader()
    assert "wire-format" not in str(outcome(reader.read, varint(len(fits)) + fits))
    assert outcome(reader.read, varint(len(does_not)) + does_not) == (
        "proto: cannot parse invalid wire-format data"
    )


def test_bytes_that_look_like_a_large_integer_may_be_text():
    help_ = "é".encode() * 10
    assert read(body(family(name=b"a", help=help_))).shape.families[0].help == "é" * 10


@pytest.mark.parametrize("name", sorted(REFUSED_BY_THE_PARSER))
def test_a_body_that_breaks_the_format_is_refused_with_the_words_of_the_reference(name):
    sent, answer = PUSHES[name]
    with pytest.raises(InvalidBody) as refused:
        ProtobufReader().read(sent)
    assert f"{refused.value}\n" == answer["body"]


@pytest.mark.parametrize("name", sorted(PUSHES.keys() - REFUSED_BY_THE_PARSER))
def test_every_other_recorded_push_is_read_as_the_slow_way_does(name):
    sent, _ = PUSHES[name]
    assert read(sent) == decode(sent)


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"\x05abc", "unexpected EOF"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "unexpected EOF"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "unexpected EOF"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", "unexpected EOF"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "proto: variable length integer overflow"),
        (b"\xff" * 11, "proto: variable length integer overflow"),
        (body(gauge(b"g", 1.0)) + b"\x02\x0a", "unexpected EOF"),
        (body(gauge(b"g", 1.0)) + b"\x01\x0a", "proto: cannot parse invalid wire-format data"),
        # A family of one byte, whose metric would have a double beyond the end of the body.
        (
            b"\x08\x0a\x01g\x18\x01\x22\x0b\x12\x09\x09z",
            "proto: cannot parse invalid wire-format data",
        ),
    ],
)
def test_a_hostile_length_costs_a_clear_error_and_nothing_else(sent, complaint):
    with pytest.raises(InvalidBody, match=f"^{complaint}$"):
        ProtobufReader().read(sent)


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (body(gauge(b"", 1.0)), "a metric family has metrics but no name"),
        (body(family(name=b"x", type=77)), 'metric family "x" has the unknown type 77'),
        (
            body(family(name=b"x", type=5, metric=[{"gauge": {"value": 1}}])),
            'gauge histogram "x" has a metric without histogram',
        ),
        (
            body(histogram(schema=-53, positive_span=[{"offset": 0, "length": 1}])),
            'native histogram "h" has the schema -53; use -4 to 8',
        ),
        (
            body(histogram(schema=9, negative_span=[{"offset": 0, "length": 1}])),
            'native histogram "h" has the schema 9; use -4 to 8',
        ),
    ],
)
def test_what_nothing_could_expose_is_refused(sent, complaint):
    with pytest.raises(InvalidBody, match=complaint):
        ProtobufReader().read(sent)


def test_a_message_of_no_bytes_is_a_family_without_name_and_metrics():
    assert read(b"\0").shape.names == ("",)


def test_a_later_family_replaces_an_earlier_one_of_its_name():
    pushed = read(body(gauge(b"g", 1, 2), gauge(b"other", 3), gauge(b"g", 4)))
    assert pushed == read(body(gauge(b"g", 4), gauge(b"other", 3)))
    assert pushed.numbers == b"4 3"


def test_labels_are_sorted_by_name_and_bytes_that_are_not_utf8_survive():
    metric = {
        "label": [{"name": b"z", "value": b"\xff"}, {"name": b"a", "value": b""}],
        "untyped": {},
    }
    pushed = read(body(family(name=b"\xfe", type=3, metric=[metric])))
    assert pushed.shape.names == ("\udcfe",)
    assert pushed.shape.families[0].labels == ((("a", ""), ("z", "\udcff")),)


@pytest.mark.parametrize(
    ("value", "said"), [({"counter": {"value": 1}}, "counter:{value:1}"), ({}, "")]
)
def test_a_metric_without_the_value_of_its_type_is_a_misfit(value, said):
    pushed = read(body(family(name=b"g", type=1, metric=[{"gauge": {"value": 5}}, value])))
    assert [tuple(wrong_type) for wrong_type in pushed.wrong_types] == [(0, 1, said)]
    assert pushed.numbers == b"5 0"


def test_a_timestamp_is_seen_even_if_it_is_zero():
    assert read(
        body(family(name=b"g", metric=[{"counter": {"value": 1}, "timestamp_ms": 0}]))
    ).timestamped


def test_numbers_that_say_everything_need_no_details():
    summary = {
        "sample_count": 9,
        "sample_sum": 1e6,
        "quantile": [{"quantile": 0.5, "value": math.nan}],
    }
    buckets = [{"cumulative_count": 1234567, "upper_bound": 0.1}]
    pushed = read(
        body(
            gauge(b"g", -0.0, math.inf),
            family(name=b"s", type=2, metric=[{"summary": summary}]),
            histogram(sample_count=2**60, sample_sum=0, bucket=buckets),
        )
    )
    assert pushed.numbers == b"-0 +Inf NaN 1e+06 9 1.234567e+06 0 1.152921504606847e+18"
    assert pushed.details == ()


@pytest.mark.parametrize(
    "value",
    [
        {"counter": {"value": 1, "created_timestamp": {"seconds": 5, "nanos": 7}}},
        {"counter": {"value": 1, "exemplar": {"value": 2}}},
        {"counter": {"value": 1}, "gauge": {"value": 1}},
        {"counter": {}},
        {"summary": {"sample_count": 2**53 + 1, "sample_sum": 1}},
        {"histogram": {"sample_count_float": 3, "sample_sum": 1}},
        {"histogram": {"sample_count": 0, "sample_sum": 1, "schema": 3, "zero_threshold": 0.1}},
    ],
)
def test_what_numbers_do_not_say_is_kept_as_the_message_without_labels(value):
    kind = next(kind for kind, field in VALUE_FIELDS.items() if field in value)
    plain = {VALUE_FIELDS[kind]: {**value[VALUE_FIELDS[kind]]}}
    metrics = [{**value, "label": labels(a="b")}, plain | {"label": labels(a="c")}]
    pushed = read(body(family(name=b"m", type=kind.value, metric=metrics)))
    assert pushed.details[0] == message_class("Metric")(**value).SerializeToString()


def test_fields_that_nobody_knows_are_kept_with_the_metric():
    metric = message_class("Metric")(counter={"value": 1}).SerializeToString() + b"\x9a\x06\x03xyz"
    inner = b"\x0a\x01c\x22" + bytes([len(metric)]) + metric + b"\xa2\x06\x00"
    assert read(bytes([len(inner)]) + inner).details == (metric,)


def test_float_counts_are_read_where_they_are_not_zero():
    buckets = [{"cumulative_count_float": 1.5, "upper_bound": 1}]
    pushed = read(body(histogram(sample_count_float=2.5, sample_sum=3, bucket=buckets)))
    assert (pushed.numbers, pushed.details) == (b"1.5 3 2.5", ())


@few_large_examples
@given(BODIES)
def test_reading_again_and_again_is_the_slow_way(sent):
    reader = ProtobufReader()
    expected = outcome(decode, sent)
    for _ in range(4):
        assert outcome(reader.read, sent) == expected


@few_large_examples
@given(BODIES, st.lists(st.lists(st.floats(-1e15, 1e15), min_size=1), min_size=1, max_size=4))
def test_other_numbers_of_a_known_shape_are_read_as_the_slow_way_does(sent, numbers):
    reader = ProtobufReader()
    outcome(reader.read, sent)
    for values in numbers:
        again = renumbered(sent, itertools.cycle(values))
        assert outcome(reader.read, again) == outcome(decode, again)
        assert outcome(reader.read, again) == outcome(decode, again)


@pytest.mark.parametrize("value", ["", "y", "\u00e9", "a\nb", "a\x12b", "long" * 40])
def test_other_label_values_are_read_as_the_slow_way_does(value):
    reader = ProtobufReader()
    for run in ("r1", "r2", "r3", value, "r4", value):
        sent = body(
            gauge(b"g", 1, 2, run=run),
            gauge(b"h", 3, run=run, z="same"),
            family(name=b"c", metric=[{"counter": {"value": 4}}]),
        )
        again = renumbered(sent, itertools.cycle([5.0]))
        assert said(reader.read, sent) == said(decode, sent)
        assert said(reader.read, again) == said(decode, again)


def test_metrics_of_a_family_may_differ_in_label_names_and_lengths():
    metrics = [
        {"label": labels(a="1" * size, **more), "gauge": {"value": size}}
        for size in (1, 90, 130)
        for more in ({}, {"b": "x"})
    ]
    for some in (metrics[0::2], metrics[1::2], metrics, metrics[:1] * 2):
        sent = body(family(name=b"g", type=MetricType.GAUGE, metric=some))
        assert read(sent) == decode(sent)


@pytest.mark.parametrize("byte", [0, 9, 10, 18, 34, 127, 128, 255])
def test_a_wrong_length_anywhere_is_read_as_the_slow_way_does(byte):
    for at in range(40):
        reader = ProtobufReader()
        for run in ("r1", "r2", "r3"):
            reader.read(body(gauge(b"g", 1, 2, run=run)))
        sent = bytearray(body(gauge(b"g", 1, 2, run="r4")))
        sent[at] = byte
        assert said(reader.read, bytes(sent)) == said(decode, bytes(sent)), at


@few_large_examples
@given(st.binary(max_size=60), st.data())
def test_any_bytes_are_read_as_the_slow_way_does(noise, data):
    reader = ProtobufReader()
    sent = data.draw(BODIES)
    outcome(reader.read, sent)
    outcome(reader.read, sent)
    at = data.draw(st.integers(0, len(sent)))
    broken = sent[:at] + noise + sent[at + len(noise) :]
    assert outcome(reader.read, broken) == outcome(decode, broken)
    assert outcome(reader.read, noise) == outcome(decode, noise)


@given(FAMILIES)
def test_the_numbers_are_those_of_the_message(made):
    pushed = outcome(decode, body(made))
    if isinstance(pushed, str) or pushed.wrong_types:
        return
    field = VALUE_FIELDS[MetricType(made.type)]
    expected = []
    for metric in made.metric:
        value = getattr(metric, field)
        match field:
            case "summary":
                expected += [q.value for q in value.quantile]
                expected += [value.sample_sum, float(value.sample_count)]
            case "histogram":
                expected += [
                    b.cumulative_count_float or float(b.cumulative_count) for b in value.bucket
                ]
                expected += [
                    value.sample_sum,
                    value.sample_count_float or float(value.sample_count),
                ]
            case _:
                expected.append(value.value)
    assert pushed.numbers.decode() == " ".join(map(go_float, expected))
    assert len(expected) == pushed.shape.starts[-1]


def test_families_with_the_same_labels_share_them():
    metrics = [
        {"label": labels(a=a), "counter": {"value": 1, "created_timestamp": {"seconds": 1}}}
        for a in "12"
    ]
    sent = body(*(family(name=name, type=0, metric=metrics) for name in (b"m", b"n")))
    one, other = ProtobufReader().read(sent).shape.families
    assert one.labels is other.labels


def test_bodies_of_clients_take_the_short_way():
    created = {"seconds": 1700000000, "nanos": 123456789}
    buckets = [
        {"cumulative_count": 300, "upper_bound": 0.1},
        {"cumulative_count": 4, "upper_bound": math.inf},
    ]
    counter = {"value": 2, "created_timestamp": created}
    summary = {"sample_count": 5, "sample_sum": 6, "quantile": [{"quantile": 0.5, "value": 7}]}
    found = scan(
        body(
            gauge(b"g", 1),
            family(name=b"c", metric=[{"label": labels(a="x" * 200), "counter": counter}]),
            family(
                name=b"s", type=2, metric=[{"summary": {**summary, "created_timestamp": created}}]
            ),
            histogram(sample_count=9, sample_sum=8, bucket=buckets, created_timestamp=created),
        )
    )
    assert found is not None
    assert found.numbers == b"1 2 7 6 5 300 4 8 9"

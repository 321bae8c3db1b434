from hypothesis import assume, given, strategies as st

from pushgate.errors import InvalidBody
from pushgate.formats.protobuf.layout import encode_metrics, family_header
from pushgate.formats.protobuf.reader import decode, messages
from pushgate.formats.scanner import scan
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import ranking, sanitised
from pushgate.model.names import Escaping, NameRule
from pushgate.model.quoting import raw, text
from pushgate.model.slices import finished
from tests.examples import few_large_examples
from tests.formats.protobuf.bodies import STORABLE_BODIES
from tests.fuzz.schema import message_class

KEY = GroupingKey([("job", "j"), ("a", "100% %b"), ("zz", "é" * 70)])
KEYS = st.dictionaries(
    st.sampled_from(["a", "instance", "c_total", "z.z", *map(str, range(40))]), st.text(max_size=3)
).map(lambda labels: GroupingKey([*labels.items(), ("job", "j")]))


def encoded_metrics(pushed, key, escaping) -> list[bytes]:
    out = [b""] * len(pushed.shape.families)
    for at, piece in encode_metrics([(key, pushed)], escaping):
        out[at] += piece
    return out


def encoded(source: bytes, escaping=Escaping.ALLOW_UTF8, key=KEY):
    pushed = scan(source, NameRule.UTF8).pushed
    metrics = encoded_metrics(pushed, key, escaping)
    family = message_class("MetricFamily")
    return [
        family.FromString(family_header(shape, escaping) + wire)
        for shape, wire in zip(pushed.shape.families, metrics, strict=True)
    ]


def test_what_was_pushed_as_text_comes_out_as_messages_with_the_grouping_labels():
    (family,) = encoded(b'# HELP g Some help.\n# TYPE g gauge\ng{b="2",a="x"} 5\ng 4\n')
    assert (family.name, family.help, family.type) == (b"g", b"Some help.", 1)
    pairs = [[(pair.name, pair.value) for pair in metric.label] for metric in family.metric]
    grouping = [(b"a", b"100% %b"), (b"instance", b""), (b"job", b"j"), (b"zz", raw("é" * 70))]
    assert pairs == [grouping, [grouping[0], (b"b", b"2"), *grouping[1:]]]
    assert [metric.gauge.value for metric in family.metric] == [4, 5]


def test_whole_counts_are_integers_and_others_make_a_float_histogram():
    whole, fraction = encoded(
        b'# TYPE h histogram\nh_bucket{le="1"} 3\nh_sum 5\nh_count 1e6\n'
        b'# TYPE f histogram\nf_bucket{le="1"} 1.5\nf_sum 5\nf_count 2\n'
    )
    assert whole.metric[0].histogram == message_class("Histogram")(
        sample_count=10**6, sample_sum=5, bucket=[{"cumulative_count": 3, "upper_bound": 1}]
    )
    assert fraction.metric[0].histogram == message_class("Histogram")(
        sample_count_float=2,
        sample_sum=5,
        bucket=[{"cumulative_count_float": 1.5, "upper_bound": 1}],
    )


def test_names_are_escaped_in_families_and_in_all_labels():
    key = GroupingKey([("job", "j"), ("my.label", "v")])
    (family,) = encoded(b'{"a.b","x.y"="1"} 2\n', Escaping.VALUES, key)
    assert family.name == b"U__a_2e_b"
    names = [pair.name for pair in family.metric[0].label]
    assert names == [b"instance", b"job", b"U__my_2e_label", b"U__x_2e_y"]


def test_an_absent_help_is_left_out_and_an_empty_one_is_not():
    without, empty = encoded(b"a 1\n# HELP b \nb 2\n")
    assert not without.HasField("help")
    assert not empty.HasField("help") or empty.help == b""


def test_a_help_that_is_not_utf8_is_made_legible():
    (family,) = encoded(b"# HELP a caf\xe9\na 1\n")
    assert family.help.decode() == "caf\ufffd"


@few_large_examples
@given(STORABLE_BODIES, KEYS)
def test_what_was_pushed_comes_out_again_with_complete_labels(sent, key):
    try:
        pushed = decode(sent)
    except InvalidBody:
        assume(False)
    assume(not pushed.wrong_types)
    assume(not finished(pushed.shape.examination(key)))  # what may not be stored is not exposed
    stored = {text(family.name): family for family in messages(sent)}
    wires = encoded_metrics(pushed, key, Escaping.ALLOW_UTF8)
    for shape, wire in zip(pushed.shape.families, wires, strict=True):
        expected = [complete(metric, key) for metric in stored[shape.name].metric]
        order = finished(ranking([labels for labels, _ in expected]))
        got = message_class("MetricFamily").FromString(wire)
        assert got.SerializeToString() == wire
        assert [normal(metric) for metric in got.metric] == [normal(expected[i][1]) for i in order]


def complete(metric, key):
    labels = [(text(pair.name), text(pair.value)) for pair in metric.label]
    labels = sanitised(tuple(sorted(labels, key=lambda pair: pair[0])), key.labels)
    whole = message_class("Metric")()
    whole.ParseFromString(metric.SerializeToString())
    whole.ClearField("timestamp_ms")
    whole.ClearField("label")
    for name, value in labels:
        whole.label.add(name=raw(name), value=raw(value))
    return labels, whole


def normal(metric):
    return str(metric)  # one NaN is like another

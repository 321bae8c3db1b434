from hypothesis import given

from pushgate.errors import InvalidBody
from pushgate.formats.protobuf.messages import VALUE_FIELDS
from pushgate.formats.protobuf.prototext import (
    message_text,
    metric_text,
    value_text,
)
from pushgate.formats.protobuf.reader import decode, messages
from pushgate.model.family import FamilyShape, MetricType
from tests.examples import few_large_examples
from tests.formats.protobuf.bodies import BODIES, body, labels
from tests.fuzz.schema import message_class

EXEMPLAR = {"value": 2, "label": labels(x="y")}


def metric(**value):
    return message_class("Metric")(**value)


def test_fields_stand_in_the_order_of_their_declaration():
    histogram = {
        "sample_count": 3,
        "sample_sum": 1.5,
        "bucket": [{"cumulative_count": 1, "upper_bound": 2, "exemplar": EXEMPLAR}],
        "created_timestamp": {"seconds": 5, "nanos": 7},
        "schema": 3,
        "zero_threshold": 1e-128,
        "zero_count": 0,
        "positive_span": [{"offset": -1, "length": 1}],
        "positive_delta": [1, -1],
    }
    assert message_text(metric(histogram=histogram)) == (
        "histogram:{sample_count:3 sample_sum:1.5 "
        'bucket:{cumulative_count:1 upper_bound:2 exemplar:{label:{name:"x" value:"y"} value:2}} '
        "created_timestamp:{seconds:5 nanos:7} schema:3 zero_threshold:1e-128 zero_count:0 "
        "positive_span:{offset:-1 length:1} positive_delta:1 positive_delta:-1}"
    )


def test_special_numbers_and_strings_are_written_as_protobuf_does():
    numbers = [float("nan"), float("inf"), float("-inf"), -0.0, 1e6]
    texts = [message_text(metric(gauge={"value": number})) for number in numbers]
    assert texts == [f"gauge:{{value:{one}}}" for one in ("nan", "inf", "-inf", "-0", "1e+06")]
    pair = message_class("LabelPair")(name='a"\\\n\x01\x7f\u0085é'.encode(), value=b"\xff")
    assert message_text(pair) == r'name:"a\"\\\n\x01\x7f\u0085é" value:"\xff"'


@few_large_examples
@given(BODIES)
def test_numbers_say_of_a_value_what_its_message_says(sent):
    """Where a value needs no message besides its numbers, both are written alike."""
    for made in read_back(sent):
        pushed = decode(body(made))
        (shape,), tokens = pushed.shape.families, pushed.numbers.split()
        for at, slots in enumerate(shape.metric_slots()):
            if (pushed.details and pushed.details[at]) or pushed.wrong_types:
                continue
            said = value_text(shape, at, tokens[slots.start : slots.stop])
            value = getattr(made.metric[at], VALUE_FIELDS[shape.type])
            assert said == f"{VALUE_FIELDS[shape.type]}:{{{message_text(value)}}}"


def read_back(sent):
    for made in messages(sent):
        try:
            decode(body(made))
        except InvalidBody:
            continue
        yield made


def test_a_metric_without_value_has_labels_only():
    assert metric_text((("a", "b"),), "") == 'label:{name:"a" value:"b"}'
    assert message_text(metric(label=labels(a="b"))) == metric_text((("a", "b"),), "")


def test_a_long_value_is_left_out():
    bounds = tuple(map(str, range(998)))
    histogram = FamilyShape("a", MetricType.HISTOGRAM, None, ((),), (bounds,))
    said = value_text(histogram, 0, [b"1"] * 1000)
    assert said.endswith("bucket:{cumulative_count:1 upper_bound:997}}")
    assert value_text(histogram, 0, [b"1"] * 1001) == "histogram:{[...]}"
    assert message_text(metric(label=labels(a="b" * (64 << 10)))) == "[...]"

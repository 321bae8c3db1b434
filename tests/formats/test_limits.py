"""What is too much is refused before anything is made of it."""

import pytest

from pushgate.errors import InvalidBody, LimitExceeded
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.limits import HARMLESS, BodyLimits
from pushgate.formats.protobuf.wire import delimited, field, uint_field
from pushgate.formats.zstd import zstd
from pushgate.model.names import NameRule

PROTOBUF = (
    b"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
OPENMETRICS = b"application/openmetrics-text"
LIMITS = BodyLimits(series_per_push=20_000, labels_per_series=8)
MANY = LIMITS.series_per_push + 100
PADDING = b"# " + b"x" * HARMLESS + b"\n"


def read(
    body: bytes, content_type: bytes = b"", encoding: bytes = b"", limits: BodyLimits = LIMITS
):
    decoder = PushDecoder(NameRule.LEGACY, limits)
    return decoder.read(body, content_type, encoding)


def message(*fields: tuple[int, bytes]) -> bytes:
    return b"".join(field(number, value) for number, value in fields)


def family(kind: int, *metrics: bytes, help_: bytes = b"x" * HARMLESS) -> bytes:
    inner = message((1, b"a"), (2, help_)) + uint_field(3, kind)
    return delimited(inner + message(*((4, metric) for metric in metrics)))


EMPTY_GROUP = b"\x5b\x5c"
GAUGE = message((2, b"\x09" + bytes(8)))


@pytest.mark.parametrize("content_type", [b"", OPENMETRICS])
def test_too_many_lines_are_too_many_series(content_type):
    body = b"".join(b'a{l="%d"} 1\n' % number for number in range(MANY))
    with pytest.raises(LimitExceeded, match=r"20000 series \(--limit.series-per-push\)"):
        read(body + b"# EOF\n", content_type)
    with pytest.raises(LimitExceeded):
        read(zstd.compress(body), content_type, b"zstd")


def test_families_without_samples_count():
    body = b"".join(b"# HELP name_%d x\n" % number for number in range(3 * MANY + 10))
    with pytest.raises(LimitExceeded, match=r"--limit\.series-per-push"):
        read(body)


def test_one_series_has_not_so_many_labels():
    inside = b",".join(b'l%d="\\\\"' % number for number in range(10_000))
    with pytest.raises(LimitExceeded, match=r"8 labels in one series \(--limit.labels-per-series"):
        read(PADDING + b"b 1\na{" + inside + b"} 1\nc 2\n")


@pytest.mark.parametrize("content_type", [b"", OPENMETRICS])
def test_a_line_has_not_so_many_bytes(content_type):
    limits = BodyLimits(label_value_bytes=HARMLESS // 16)
    complaint = r"262144 bytes in one line, 16 label values \(--limit.label-value-bytes\)"
    for line in (b"a" * HARMLESS + b" 1\n", b"a" * HARMLESS * 2, b"# HELP a " + b"x" * HARMLESS):
        with pytest.raises(LimitExceeded, match=complaint):
            read(b"b 1\n" + line, content_type, limits=limits)


@pytest.mark.parametrize("at", [1, 2, 5, 15])
def test_a_field_of_a_message_is_no_longer_than_a_line(at):
    limits = LIMITS._replace(label_value_bytes=HARMLESS // 16)
    for size, is_read in ((HARMLESS, True), (HARMLESS + 1, False)):
        body = delimited(message((at, b"x" * size))) + delimited(message((1, b"b")))
        if is_read:
            assert read(body, PROTOBUF, limits=limits).shape.families
            continue
        with pytest.raises(LimitExceeded, match="bytes in one field, 16 label values") as caught:
            read(body, PROTOBUF, limits=limits)
        assert caught.value.limit == "label-value-bytes"


def test_ten_labels_for_each_series_are_enough_for_all():
    line = b"a{" + b"".join(b'label%d="",' % number for number in range(24)) + b"} 1\n"
    with pytest.raises(LimitExceeded, match="200000 labels in all, 10 for each series"):
        read(line * 10_000, limits=BodyLimits(series_per_push=20_000, labels_per_series=100))


def test_what_is_long_but_not_much_is_read():
    help_ = b"# HELP a " + b'"quoted" ' * 5000 + b"\n"
    value = b'\\"' * 5000
    body = PADDING + help_ + b'a{l="' + value + b'"} 1\n' + b"\n" * MANY + b"b 1\n"
    assert read(body).shape.names == ("a", "b")
    assert read(body[:-4] + b"b 1").shape.names == ("a", "b")


@pytest.mark.parametrize(
    ("body", "flag"),
    [
        (family(1, *[b""] * MANY), "series-per-push"),
        (family(1, *[GAUGE] * MANY), "series-per-push"),
        (b"\0" * (HARMLESS + MANY), "series-per-push"),
        (family(4, message((7, b"\x1a\0" * MANY))), "series-per-push"),
        (family(2, message((4, b"\x1a\0" * MANY))), "series-per-push"),
        (family(4, message((7, b"\x62\0" * 20 * MANY))), "series-per-push"),
        (family(4, message((7, message((13, bytes(20 * MANY)))))), "series-per-push"),
        (family(4, EMPTY_GROUP + message((7, b"\x62\0" * 20 * MANY))), "series-per-push"),
        (family(1, GAUGE + b"\x7a\0" * 51 * MANY), "series-per-push"),
        (family(1, b"\x0a\0" * 10 + GAUGE), "labels-per-series"),
        (family(0, message((3, message((2, b"\x0a\0" * 10))))), "labels-per-series"),
    ],
    ids=[
        *("empty", "gauges", "families", "buckets", "quantiles", "spans", "deltas"),
        *("behind a group", "unknown", "labels", "exemplar"),
    ],
)
def test_too_many_messages_are_counted_and_not_made(body, flag):
    with pytest.raises(LimitExceeded, match=rf"--limit\.{flag}"):
        read(body, PROTOBUF)


def test_a_large_integer_does_not_hide_what_stands_behind_it():
    integer = b"\x30" + b"\xff" * 9 + b"\x02"
    with pytest.raises(InvalidBody, match="cannot parse invalid wire-format data"):
        read(family(4, integer + message((7, b"\x62\0" * 20 * MANY))), PROTOBUF)


def test_a_large_family_that_is_no_more_than_large_is_read():
    assert len(read(family(1, GAUGE, GAUGE), PROTOBUF).shape.families[0].labels) == 2


@pytest.mark.parametrize(
    "body", [family(1, *[GAUGE] * MANY), b"".join(b"a%d 1\n" % number for number in range(60_000))]
)
def test_zero_is_no_limit(body):
    assert (
        read(body, PROTOBUF if body[0] != 97 else b"", limits=BodyLimits()).shape.series
        > LIMITS.series_per_push
    )

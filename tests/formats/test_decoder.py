"""Which reader gets a body, and what happens to the body before."""

import gzip

import pytest

from pushgate.errors import InvalidBody, LimitExceeded, TextFormatError, UnsupportedEncoding
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.limits import BodyLimits
from pushgate.model.family import MetricType
from pushgate.model.names import NameRule
from tests import delimited
from tests.formats.protobuf import bodies

PROTOBUF = delimited.PROTOBUF.encode()
OPENMETRICS = b"application/openmetrics-text; version=1.0.0"
GAUGE = bodies.body(
    bodies.family(name=b"m", type=MetricType.GAUGE, metric=[{"gauge": {"value": 1}}])
)


@pytest.fixture
def decoder():
    return PushDecoder(NameRule.LEGACY)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"", b"# TYPE m gauge\nm 1\n"),
        (b"text/plain; version=0.0.4", b"# TYPE m gauge\nm 1\n"),
        (b"application/x-www-form-urlencoded", b"# TYPE m gauge\nm 1\n"),
        (OPENMETRICS, b"# TYPE m gauge\nm 1\n# EOF\n"),
        (OPENMETRICS, b"# TYPE m gauge\nm 1\n"),
        (PROTOBUF, GAUGE),
    ],
)
def test_the_content_type_says_who_reads(decoder, content_type, body):
    pushed = decoder.read(body, content_type, b"")
    assert [(family.name, family.type) for family in pushed.shape.families] == [
        ("m", MetricType.GAUGE)
    ]
    assert pushed.numbers == b"1"


def test_a_body_is_decompressed_first(decoder):
    assert decoder.read(gzip.compress(b"m 1\n"), b"", b"gzip").numbers == b"1"
    with pytest.raises(UnsupportedEncoding, match="compress"):
        decoder.read(b"m 1\n", b"", b"compress")
    with pytest.raises(InvalidBody):
        decoder.read(b"m 1\n", b"", b"gzip")


def test_a_body_may_not_become_too_large():
    decoder = PushDecoder(NameRule.LEGACY, BodyLimits(decompressed_bytes=1000))
    with pytest.raises(LimitExceeded, match=r"--limit\.decompressed-bytes"):
        decoder.read(gzip.compress(b"m 1\n" * 1000), b"", b"gzip")


def test_what_neither_openmetrics_nor_text_can_read_names_both_errors(decoder):
    with pytest.raises(TextFormatError, match="expected float") as error:
        decoder.read(b"m 1\nm x\n# EOF\n", OPENMETRICS, b"")
    assert error.value.advice[0].startswith("As OpenMetrics, line 2: ")


def test_names_are_those_that_the_server_allows():
    body = b'{"a.b"} 1\n'
    assert PushDecoder(NameRule.UTF8).read(body, b"", b"").shape.names == ("a.b",)
    with pytest.raises(TextFormatError):
        PushDecoder(NameRule.LEGACY).read(body, b"", b"")


def test_what_shapes_cost_is_counted_for_all_formats(decoder):
    decoder.read(GAUGE, PROTOBUF, b"")
    decoder.read(GAUGE, PROTOBUF, b"")
    protobuf = decoder.cache_bytes
    for _ in range(3):
        decoder.read(b"m 1\n", b"", b"")
    assert 0 < protobuf < decoder.cache_bytes


@pytest.mark.parametrize(
    ("body", "encoding", "large"),
    [
        (b"m 1\n", b"", False),
        (b"m 1\n", b"gzip", True),
        (b"#" * (64 << 10), b"", True),
        (b"m 1\n" * 1001, b"", True),
    ],
)
def test_large_bodies_take_long(decoder, body, encoding, large):
    assert (decoder.read_quickly(body, b"", encoding) is None) is large


@pytest.mark.parametrize(("content_type", "body"), [(PROTOBUF, GAUGE), (OPENMETRICS, b"m 1\n")])
def test_the_first_body_of_a_format_takes_long(decoder, content_type, body):
    assert decoder.read_quickly(body, content_type, b"") is None
    pushed = decoder.read(body, content_type, b"")
    assert decoder.read_quickly(body, content_type, b"") == pushed


@pytest.mark.parametrize(
    "body",
    [
        bytes(60_000),  # as many families without a name
        bodies.body(bodies.family(name=b"h", type=4, metric=[{"histogram": {}}] * 5000)),
        bodies.body(
            bodies.family(name=b"h", type=4, metric=[{"histogram": {"bucket": [{}] * 9000}}])
        ),
        bodies.body(bodies.family(name=b"c", type=0, metric=[{"gauge": {}}] * 1000)),
    ],
    ids=["empty families", "empty histograms", "empty buckets", "metrics of the wrong type"],
)
def test_messages_that_clients_rarely_write_take_long(decoder, body):
    decoder.read(GAUGE, PROTOBUF, b"")
    assert decoder.read_quickly(body, PROTOBUF, b"") is None
    decoder.read(body, PROTOBUF, b"")


def test_many_lines_of_a_known_shape_are_read_quickly(decoder):
    def body(value: int) -> bytes:
        return b"".join(b"m%d %d\n" % (number, value) for number in range(1001))

    assert decoder.read_quickly(body(1), b"", b"") is None
    for value in (1, 2):  # what comes twice is remembered
        decoder.read(body(value), b"", b"")
    quick = decoder.read_quickly(body(3), b"", b"")
    assert (
        quick
        == decoder.read(body(3), b"", b"")
        == PushDecoder(NameRule.LEGACY).read(body(3), b"", b"")
    )
    assert decoder.read_quickly(body(1).replace(b"m7 1", b"m7 x"), b"", b"") is None

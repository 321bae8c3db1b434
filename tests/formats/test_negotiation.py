import pytest
from hypothesis import given, strategies as st

from pushgate.formats.negotiation import (
    BodyFormat,
    Format,
    accepted_encoding,
    accepted_format,
    body_format,
    content_coding,
    media_type,
)
from pushgate.model.names import Escaping

PROTOBUF = b"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"
UNDERSCORES, UTF8, VALUES = Escaping.UNDERSCORES, Escaping.ALLOW_UTF8, Escaping.VALUES
PROMETHEUS_3 = (
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    b"application/openmetrics-text;version=0.0.1;q=0.5,"
    b"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_PROTOBUF = (
    PROTOBUF + b";encoding=delimited;q=0.6,"
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "format_", "escaping"),
    [
        (b"", Format.TEXT, UNDERSCORES),
        (b"*/*", Format.TEXT, UNDERSCORES),
        (b"*", Format.TEXT, UNDERSCORES),
        (b"application/json", Format.TEXT, UNDERSCORES),
        (b"application/openmetrics-text;version=1.0.0", Format.TEXT, UNDERSCORES),
        (b"text/plain;version=1.0.0", Format.TEXT, UNDERSCORES),
        (b"text/plain;version=0.0.4;escaping=allow-utf-8", Format.TEXT, UTF8),
        (b'text/plain;escaping="allow-utf-8"', Format.TEXT, UNDERSCORES),
        (b"text/plain;escaping=foo", Format.TEXT, UNDERSCORES),
        (b"text/plain;\tescaping=dots", Format.TEXT, UNDERSCORES),
        (b"application/json;escaping=values,text/plain", Format.TEXT, VALUES),
        (b"text/plain,application/json;escaping=values", Format.TEXT, UNDERSCORES),
        (b"application/vnd.google.protobuf", Format.TEXT, UNDERSCORES),
        (PROTOBUF + b";encoding=delimited;q=0.5,text/plain;q=0.6", Format.TEXT, UNDERSCORES),
        (PROTOBUF + b";encoding=delimited;q=0.7,text/plain;q=0.6", Format.PROTOBUF, UNDERSCORES),
        (PROTOBUF + b"; encoding=text", Format.TEXT, UNDERSCORES),
        (PROTOBUF + b"; encoding=compact-text", Format.TEXT, UNDERSCORES),
        (PROTOBUF + b"; encoding=Delimited", Format.TEXT, UNDERSCORES),
        (b"a/b/c;escaping=dots,text/plain", Format.TEXT, UNDERSCORES),
        (b"x/*;escaping=values,x/y;escaping=dots", Format.TEXT, VALUES),
        (PROTOBUF + b";encoding=delimited; q=0.5 ,text/plain;q=0.4", Format.PROTOBUF, UNDERSCORES),
        (b"text/plain;q=0.9 ," + PROTOBUF + b";encoding=delimited;q=0.5", Format.TEXT, UNDERSCORES),
        (b"text/plain;q=,application/json", Format.TEXT, UNDERSCORES),
        (PROTOBUF + b";q=;encoding=delimited,text/plain;q=0.9", Format.PROTOBUF, UNDERSCORES),
        (b"text/plain;version= ;escaping=;escaping=values", Format.TEXT, VALUES),
        (PROMETHEUS_3, Format.TEXT, UTF8),
        (PROMETHEUS_3_PROTOBUF, Format.PROTOBUF, UNDERSCORES),
    ],
)
def test_chooses_the_format_that_the_reference_chooses(accept, format_, escaping):
    assert accepted_format(accept) == (format_, escaping)


def test_the_content_type_says_how_names_are_escaped():
    assert (
        accepted_format(b"").content_type
        == b"text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    )
    assert accepted_format(PROTOBUF + b";encoding=delimited;escaping=values").content_type == (
        b"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
        b"encoding=delimited; escaping=values"
    )


IDENTITY_ONLY = [
    b"",
    b"identity",
    b"*",
    b"deflate",
    b"br",
    b"x-gzip",
    b"GZIP",
    b"gzip;Q=0.8",
    b"gzip;q=abc",
    b"gzip;q=2",
    b"*;q=0",
    b"gzip;q=0",
    b"identity;q=0",
    b"identity, gzip",
    b"identity;q=0.5, gzip;q=0.5",
    b"gzip;q=0.5, identity;q=0.9",
    b"gzip;q=0, *",
]


def coding_for(*lines: bytes) -> str:
    return accepted_encoding([(b"accept-encoding", line) for line in lines])


@pytest.mark.parametrize("line", IDENTITY_ONLY)
def test_does_not_compress_unasked(line):
    assert coding_for(line) == ""


@pytest.mark.parametrize(
    "line",
    [
        b"gzip",
        b"gzip, deflate",
        b"gzip, zstd",
        b"zstd,gzip",
        b"gzip;q=0.1",
        b"gzip ; q=0.1",
        b"gzip;q=0.1;x=y",
    ],
)
def test_compresses_with_gzip_for_those_who_know_it(line):
    assert coding_for(line) == "gzip"


def test_reads_all_accept_encoding_lines():
    assert coding_for(b"br", b"gzip") == "gzip"


@pytest.mark.parametrize(
    ("line", "coding"),
    [
        (b"zstd", "zstd"),
        (b"zstd, gzip;q=0.9", "zstd"),
        (b"gzip;q=0, zstd", "zstd"),
        (b"gzip;q=0.8, zstd;q=0.5", "gzip"),
    ],
)
def test_compresses_with_zstd_only_if_that_is_liked_better(line, coding):
    assert coding_for(line) == coding


@pytest.mark.parametrize(
    "content_type",
    [
        (
            b"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
            b"encoding=delimited"
        ),
        (
            b"Application/Vnd.Google.Protobuf;ENCODING=delimited ;\tProto="
            b"io.prometheus.client.MetricFamily"
        ),
        (
            b'application/vnd.google.protobuf ; encoding = "delimited"; '
            b'proto="io.prometheus.client.MetricFamily"; escaping=values;'
        ),
        PROTOBUF + b"; encoding=delimited; encoding=delimited",
    ],
)
def test_knows_protobuf_by_its_parameters(content_type):
    assert body_format(content_type) is BodyFormat.PROTOBUF


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b";",
        b"text/plain; version=0.0.4",
        b"application/json",
        b"application/x-www-form-urlencoded",
        b"application/vnd.google.protobuf",
        PROTOBUF,
        PROTOBUF + b"; encoding=Delimited",
        PROTOBUF + b"; encoding=text",
        PROTOBUF + b"; encoding=delimited; =x",
        PROTOBUF + b"; encoding=delimited; x",
        PROTOBUF + b"; encoding=delimited;;",
        PROTOBUF + b'; encoding="del\\imited"',
        PROTOBUF + b"; encoding=delimited; encoding=text",
        b"application/vnd.google.protobuf; encoding=delimited; proto=other",
    ],
)
def test_reads_everything_else_as_text(content_type):
    assert body_format(content_type) is BodyFormat.TEXT


def test_reads_openmetrics_by_its_type():
    content_type = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body_format(content_type) is BodyFormat.OPENMETRICS


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a/b", ("a/b", {})),
        ("A/B; C=D", ("a/b", {"c": "D"})),
        (r'a/b; c="x\"y\z;"', ("a/b", {"c": r'x"y\z;'})),
        ("a/b; c={d}", ("a/b", {"c": "{d}"})),
        ('a/b; c="x', ("", {})),
        ("a/b; c", ("", {})),
        ("a b", ("", {})),
    ],
)
def test_reads_media_types(text, parsed):
    assert media_type(text) == parsed


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b" GZip ", "gzip"),
        (b"snappy", "snappy"),
        (b"zstd", "zstd"),
        (b"identity", ""),
        (b"none", ""),
        (b"binary", ""),
        (b"8bit", ""),
        (b"text/plain", ""),
        (b"gzip, chunked", "gzip"),
        (b"UTF-8", ""),
        (b"utf8", ""),
        (b"iso-8859-1", ""),
        (b"x-gzip", "gzip"),
        (b"gzip, identity", "gzip"),
        (b"gzip, gzip", "gzip, gzip"),
        (b"br", "br"),
        (b"", ""),
    ],
)
def test_names_the_coding_of_a_body(value, coding):
    assert content_coding(value) == coding


def test_the_start_of_a_huge_header_is_enough():
    accept = b"text/plain;escaping=values," + b"a/b;q=0.1," * 100_000 + PROTOBUF
    assert accepted_format(accept) == (Format.TEXT, VALUES)
    assert coding_for(*[b"gzip"] * 100_000) == "gzip"
    assert body_format(PROTOBUF + b";a=b" * 250_000) is BodyFormat.TEXT
    assert len(content_coding(b"a" * 1_000_000)) < 10_000


@given(st.binary())
def test_any_header_value_is_read(value):
    assert accepted_format(value).format in Format
    assert coding_for(value) in {"", "gzip", "zstd"}
    assert body_format(value) in BodyFormat
    assert isinstance(content_coding(value), str)

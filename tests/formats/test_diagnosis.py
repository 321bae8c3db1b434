"""Senders of what is no exposition are told what they sent."""

import bz2
import gzip
import lzma
import zlib

import pytest

from pushgate.errors import TextFormatError
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.zstd import zstd
from pushgate.model.names import NameRule

METRICS = b"# TYPE rows gauge\nrows 1\n"
FORM = (
    b"--------------------------d74496d66958873e\r\n"
    b'Content-Disposition: form-data; name="file"; filename="m.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\n%b\r\n--------------------------d74496d66958873e--\r\n"
)


def refused(body: bytes, content_type: bytes = b"") -> TextFormatError:
    with pytest.raises(TextFormatError) as error:
        PushDecoder(NameRule.LEGACY).read(body, content_type, b"")
    return error.value


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (METRICS.decode().encode("utf-16"), "UTF-16"),
        (METRICS.decode().encode("utf-16-be"), "UTF-16"),
        (gzip.compress(METRICS, mtime=0), "Content-Encoding: gzip"),
        (zlib.compress(METRICS), "Content-Encoding: deflate"),
        (zstd.compress(METRICS), "Content-Encoding: zstd"),
        (FORM % METRICS, "--data-binary"),
        (b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n", "HTML"),
        (b"\n<html>\n", "HTML"),
        (b'{"rows": 1}\n', "JSON"),
        (b'[{"rows": 1}]\n', "JSON"),
        (b"\x0c\x0a\x04rows\x18\x01\x22\x02\x12\x00", "encoding=delimited"),
        (b"rows 1,5\n", "LC_NUMERIC=C"),
        (b"rows 1.234,56\n", "LC_NUMERIC=C"),
        (b'# TYPE s summary\ns{quantile="0,5"} 1\n', "LC_NUMERIC=C"),
        (b"rows 1 1700000000.5\n", "timestamp"),
        (b"rows 1 # 5\n", "timestamp"),
        (bz2.compress(METRICS), "bzip2"),
        (lzma.compress(METRICS), "xz"),
        (b"PK\x03\x04" + bytes(26), "zip"),
        (b"rows{l='x'} 1\n", 'name="value"'),
        (b"rows{l=x} 1\n", 'name="value"'),
        ("rows{l=\N{LEFT DOUBLE QUOTATION MARK}x} 1\n".encode(), 'name="value"'),
        ('rows{l="\N{LATIN SMALL LETTER E WITH ACUTE}"} 1\n'.encode("latin-1"), "UTF-8"),
        ("rows\N{NO-BREAK SPACE}1\n".encode(), "ordinary blank"),
        (METRICS.replace(b"\n", b""), "--data-binary"),
        (b"a 1b 2", "--data-binary"),
    ],
)
def test_what_was_sent_by_mistake_is_named(body, word):
    error = refused(body)
    assert str(error).startswith("text format parsing error in line ")
    assert "\n" not in str(error)
    [advice] = error.advice
    assert word in advice


@pytest.mark.parametrize("body", [b"rows x\n", b"1rows 1\n", b"{} 1\n", b"rows"])
def test_an_ordinary_mistake_is_left_to_its_error(body):
    assert refused(body).advice == ()


def test_what_is_neither_openmetrics_nor_text_is_refused_with_both_reasons():
    error = refused(b"# TYPE rows gauge\nrows x\n# EOF\n", b"application/openmetrics-text")
    assert str(error).endswith('in line 2: expected float as value, got "x"')
    assert error.advice[0].startswith("As OpenMetrics, line 2: expected a number")


def test_the_kind_of_a_huge_body_is_seen_at_its_start():
    assert refused(b"<" * 2_000_000).advice == ()
    assert "HTML" in refused(b"<a>" * 700_000).advice[0]

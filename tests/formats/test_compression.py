import gzip
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import given, strategies as st

from pushgate.errors import InvalidBody, LimitExceeded, UnsupportedEncoding
from pushgate.formats import compression
from pushgate.formats.compression import decompress
from pushgate.formats.zstd import zstd

PLAIN = b'requests_total{code="200"} 17\n' * 40
LIMIT = 2**20
SNAPPY_START = b"\xff\x06\0\0sNaPpY"


def raw_deflate(plain):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(plain) + compressor.flush()


def snappy(plain):
    return bytes(cramjam.snappy.compress(plain)) or SNAPPY_START


def gzip_with_options(plain):
    """A gzip member with an extra field, a name, a comment and a header checksum."""
    header = b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff" + b"\x03\0abc" + b"name\0" + b"comment\0"
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    return header + gzip.compress(plain, mtime=0)[10:]


ENCODERS = {
    "gzip": [gzip.compress, gzip_with_options],
    "snappy": [snappy],
    "zstd": [zstd.compress],
    "deflate": [zlib.compress, raw_deflate],
    "": [bytes],
}
CASES = [(encoding, encode) for encoding, encoders in ENCODERS.items() for encode in encoders]
COMPRESSED = [case for case in CASES if case[0]]


def complaint(body, encoding):
    with pytest.raises(InvalidBody) as refused:
        decompress(body, encoding, limit=LIMIT)
    return str(refused.value)


@pytest.mark.parametrize(("encoding", "encode"), CASES)
@given(plain=st.binary(max_size=5000) | st.binary(max_size=40).map(lambda some: some * 5000))
def test_every_encoding_gives_back_what_was_encoded(encoding, encode, plain):
    assert decompress(encode(plain), encoding, limit=LIMIT) == plain


@pytest.mark.parametrize("encoding", [*ENCODERS])
@given(data=st.data())
def test_any_bytes_are_decoded_or_refused(encoding, data):
    whole = ENCODERS[encoding][-1](PLAIN)
    damaged = st.builds(
        lambda at, some: whole[:at] + some + whole[at + len(some) :],
        st.integers(0, len(whole)),
        st.binary(max_size=4),
    )
    body = data.draw(st.binary() | damaged | st.integers(0, len(whole)).map(lambda n: whole[:n]))
    try:
        decompress(body, encoding, limit=LIMIT)
    except (InvalidBody, LimitExceeded):
        return


def outcome(decode, body):
    try:
        return decode(body)
    except InvalidBody as error:
        return str(error)


@given(at=st.integers(0, 200), some=st.binary(max_size=3))
def test_the_quick_way_through_gzip_gives_what_the_thorough_one_gives(at, some):
    body = GZIP[:at] + some + GZIP[at + len(some) :]
    quick = outcome(lambda body: decompress(body, "gzip", limit=LIMIT), body)
    member = compression._gunzip_member
    assert quick == outcome(lambda body: compression._decoded(body, LIMIT, member, ""), body)


def test_an_unknown_encoding_is_refused_with_the_known_ones():
    with pytest.raises(UnsupportedEncoding, match='"br", use one of: gzip, snappy, zstd, deflate'):
        decompress(b"", "br", limit=LIMIT)


@pytest.mark.parametrize(("encoding", "encode"), COMPRESSED)
def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not(encoding, encode):
    for size in (len(PLAIN), 3 * 2**20):
        body = encode(bytes(size))
        assert len(decompress(body, encoding, limit=size)) == size
        with pytest.raises(LimitExceeded) as refused:
            decompress(body, encoding, limit=size - 1)
        assert refused.value.limit == "decompressed-bytes"
        assert refused.value.status == 413
        assert f"larger than {size - 1} bytes" in str(refused.value)


@pytest.mark.parametrize(("encoding", "encode"), COMPRESSED)
def test_without_a_limit_everything_passes(encoding, encode):
    assert len(decompress(encode(bytes(2**21)), encoding, limit=0)) == 2**21


@pytest.mark.parametrize(("encoding", "encode"), COMPRESSED)
def test_a_bomb_costs_no_more_memory_than_the_limit_and_a_chunk(encoding, encode):
    bomb = encode(bytes(64 * LIMIT))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded):
            decompress(bomb, encoding, limit=LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(bomb) + 3 * LIMIT


@pytest.mark.parametrize("count", [2, 5000])
def test_a_gzip_body_may_have_several_members(count):
    member = gzip.compress(b"m 1\n")
    assert decompress(member * count, "gzip", limit=LIMIT) == b"m 1\n" * count


def test_a_zstd_body_may_have_several_frames():
    assert decompress(zstd.compress(b"m 1\n") * 9, "zstd", limit=LIMIT) == b"m 1\n" * 9


def test_bodies_of_countless_members_are_refused():
    assert "more than 10000 members" in complaint(gzip.compress(b"") * 10_001, "gzip")
    assert "more than 10000 frames" in complaint(zstd.compress(b"") * 10_001, "zstd")


GZIP = gzip.compress(PLAIN, mtime=0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "EOF"),
        (b"x", "unexpected EOF"),
        (GZIP[:9], "unexpected EOF"),
        (GZIP[:10], "unexpected EOF"),
        (GZIP[:-20], "unexpected EOF"),
        (GZIP[:-8], "unexpected EOF"),
        (GZIP[:-1], "unexpected EOF"),
        (b"this is not gzip", "gzip: invalid header"),
        (GZIP[:2] + b"\x07" + GZIP[3:], "gzip: invalid header"),
        (GZIP[:-8] + bytes(4) + GZIP[-4:], "gzip: invalid checksum"),
        (GZIP[:-4] + bytes(4), "gzip: invalid checksum"),
        (GZIP + b"garbage", "unexpected EOF"),
        (GZIP + b"more garbage", "gzip: invalid header"),
        (GZIP + bytes(10), "gzip: invalid header"),
        (GZIP[:10] + b"\x07" + GZIP[11:], "flate: corrupt input"),
        (GZIP + GZIP[:10] + b"\x00" * 9, "flate: corrupt input"),
        (b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 511, "unexpected EOF"),
        (GZIP[:3] + b"\xe0" + GZIP[4:], "gzip: invalid header"),
        (b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + b"\xff\xff", "unexpected EOF"),
        (b"\x1f\x8b\x08\x02\0\0\0\0\0\xff" + b"\0\0" + GZIP[10:], "gzip: invalid header"),
    ],
)
def test_a_damaged_gzip_body_is_refused_in_the_words_of_the_go_server(body, message):
    assert complaint(body, "gzip") == message


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"", "EOF"), (GZIP[:5], "unexpected EOF"), (b"0123456789", "gzip: invalid header")],
)
def test_a_body_without_a_gzip_header_is_refused_for_that(body, message):
    assert complaint(body, "gzip") == message


SNAPPY = snappy(PLAIN)
CORRUPT, UNSUPPORTED = "snappy: corrupt input", "snappy: unsupported input"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (bytes(cramjam.snappy.compress_raw(PLAIN)), CORRUPT),
        (SNAPPY[len(SNAPPY_START) :], CORRUPT),
        (SNAPPY[:7], CORRUPT),
        (SNAPPY[:-1], CORRUPT),
        (SNAPPY + b"\x00", CORRUPT),
        (SNAPPY[:14] + bytes(4) + SNAPPY[18:], CORRUPT),
        (SNAPPY + b"\xff\x06\0\0sNaPpX", CORRUPT),
        (SNAPPY_START + b"\x00\x05\0\0abcd\xff", CORRUPT),
        (SNAPPY_START + b"\x01\x03\0\0abc", UNSUPPORTED),
        (SNAPPY_START + b"\x01" + (65_541).to_bytes(3, "little") + bytes(65_541), UNSUPPORTED),
        (SNAPPY + b"\x02\0\0\0", UNSUPPORTED),
        (SNAPPY + b"\x7f\0\0\0", UNSUPPORTED),
        (SNAPPY + b"\x80" + (76_495).to_bytes(3, "little") + bytes(76_495), UNSUPPORTED),
        (SNAPPY[:14] + bytes(4) + SNAPPY[18:] + b"\x02\0\0\0", CORRUPT),
    ],
)
def test_a_damaged_snappy_body_is_refused_in_the_words_of_the_go_server(body, message):
    assert complaint(body, "snappy") == message


def test_an_empty_snappy_body_is_empty():
    assert decompress(b"", "snappy", limit=LIMIT) == b""


def test_snappy_chunks_of_padding_and_further_identifiers_are_skipped():
    padding = b"\xfe" + (65_536).to_bytes(3, "little") + bytes(65_536)
    raw = b"\x01" + (8).to_bytes(3, "little") + snappy_checksum(b"m 1\n") + b"m 1\n"
    body = SNAPPY_START + padding + SNAPPY + b"\x80\0\0\0" + raw
    assert decompress(body, "snappy", limit=LIMIT) == PLAIN + b"m 1\n"


def snappy_checksum(data):
    """The masked CRC-32C of *data*, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "unexpected EOF"),
        (zlib.compress(PLAIN)[:-1], "unexpected EOF"),
        (raw_deflate(PLAIN)[:-1], "unexpected EOF"),
        (zlib.compress(PLAIN)[:-4] + bytes(4), "flate: corrupt input"),
        (b"\x07", "flate: corrupt input"),
        (raw_deflate(PLAIN) + b"x", "deflate: data after the end of the stream"),
    ],
)
def test_a_damaged_deflate_body_is_refused(body, message):
    assert complaint(body, "deflate") == message


def test_a_damaged_zstd_body_is_refused():
    whole = zstd.compress(PLAIN)
    assert complaint(whole[:-1], "zstd") == "unexpected EOF"
    assert complaint(b"", "zstd") == "unexpected EOF"
    assert complaint(b"this is not zstd", "zstd") == "zstd: corrupt input"
    assert complaint(whole + b"this is not zstd", "zstd") == "zstd: corrupt input"


def test_a_zstd_frame_may_not_ask_for_a_huge_window():
    options = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(PLAIN) + compressor.flush()
    assert complaint(body, "zstd") == "zstd: corrupt input"

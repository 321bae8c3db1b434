"""Pieces encoded once are a whole stream in any order."""

import gzip
import zlib

import pytest
from hypothesis import example, given, strategies as st

from pushgate.formats.encoding import Encoding, Gzip, Piece, Zstd, joined
from pushgate.formats.zstd import zstd

plains = st.lists(st.binary(max_size=50) | st.just(b"many metrics\n" * 100), max_size=6)


def one_gzip_member(data: bytes) -> bytes:
    member = zlib.decompressobj(31)
    plain = member.decompress(data)
    assert (member.eof, member.unused_data) == (True, b"")
    return plain


def decoded(encoding: Encoding, data: bytes) -> bytes:
    if isinstance(encoding, Gzip):
        assert gzip.decompress(data) == zlib.decompress(data, 31)
        return one_gzip_member(data)
    return zstd.decompress(data) if isinstance(encoding, Zstd) and data else data


@pytest.mark.parametrize("encoding", [Encoding(), Gzip(), Zstd()], ids=["", "gzip", "zstd"])
@given(plains=plains)
def test_pieces_make_a_whole(encoding, plains):
    pieces = [encoding.piece(plain) for plain in plains]
    whole = b"".join(encoding.whole(pieces, joined(pieces)))
    assert decoded(encoding, whole) == b"".join(plains)


@given(plains)
def test_checksums_are_joined(plains):
    pieces = [Piece(b"", zlib.crc32(plain), len(plain)) for plain in plains]
    whole = b"".join(plains)
    assert joined(pieces) == (b"", zlib.crc32(whole), len(whole))


@given(st.integers(0, 3 << 20), st.binary(max_size=9))
@example(1 << 10, b"a")
@example((1 << 10) - 1, b"a")
def test_long_pieces_are_joined(length, start):
    zeros = bytes(length)
    pieces = [Piece(b"", zlib.crc32(plain), len(plain)) for plain in (start, zeros)]
    assert joined(pieces).checksum == zlib.crc32(zeros, zlib.crc32(start))


def test_very_long_pieces_are_joined():
    block, checksum = bytes(16 << 20), zlib.crc32(b"a")
    for _ in range(5):
        checksum = zlib.crc32(block, checksum)
    long = joined([Piece(b"", zlib.crc32(block), len(block))] * 5)
    assert joined([Piece(b"", zlib.crc32(b"a"), 1), long]).checksum == checksum


def test_pieces_of_one_store_compress():
    encoding = Gzip()
    plain = b"".join(b'm{instance="",job="%d"} 1\n' % i for i in range(1000))
    assert len(encoding.piece(plain).data) < len(plain) / 4

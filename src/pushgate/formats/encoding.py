"""Encodes expositions that are joined from pieces, each of which is encoded only once.

Encoded pieces can be joined as they are. In gzip they are deflate blocks that end on a byte
boundary (RFC 1951, 3.2.4); the full flush makes them independent. In zstd they are frames
(RFC 8878, 3).
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from isal import isal_zlib


class Piece(NamedTuple):
    """An encoded part of an exposition, with the checksum and length of its plain bytes."""

    data: bytes
    checksum: int
    length: int


NOTHING = Piece(b"", 0, 0)


class Encoding:
    """The content coding of an exposition. This one is identity: plain bytes."""

    token = ""
    """The name in ``Content-Encoding``; empty for plain bytes."""

    def piece(self, plain: bytes) -> Piece:
        """Return *plain* encoded, to be used at any position in an exposition."""
        return Piece(plain, 0, len(plain))

    def whole(self, pieces: Sequence[Piece], total: Piece) -> list[bytes]:  # noqa: ARG002 - only gzip needs it
        """Return the complete exposition of *pieces* as chunks; *total* is their sum."""
        return [piece.data for piece in pieces]


# RFC 1952, section 2.3: deflate, no name, no time, unknown system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x03\x00"  # final, with fixed codes, and empty (RFC 1951, 3.2.6)


class Gzip(Encoding):
    """One gzip member, from deflate blocks."""

    token = "gzip"  # noqa: S105 - a content coding

    def piece(self, plain: bytes) -> Piece:
        # Level 1 of ISA-L is eight times as fast as zlib-6, and 10 % larger.
        deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
        data = deflate.compress(plain) + deflate.flush(isal_zlib.Z_FULL_FLUSH)
        return Piece(data, zlib.crc32(plain), len(plain))

    def whole(self, pieces: Sequence[Piece], total: Piece) -> list[bytes]:
        trailer = struct.pack("<II", total.checksum, total.length & 0xFFFFFFFF)
        return [_GZIP_HEADER, *(piece.data for piece in pieces), _LAST_BLOCK + trailer]


class Zstd(Encoding):
    """Frames of zstd. They need nothing around them, like plain bytes."""

    token = "zstd"  # noqa: S105 - a content coding

    def piece(self, plain: bytes) -> Piece:
        from pushgate.formats.zstd import zstd

        return Piece(zstd.compress(plain, 1), 0, len(plain))


def joined(pieces: Iterable[Piece]) -> Piece:
    """Return the checksum and length of *pieces* one after the other, without their data."""
    checksum = length = 0
    for piece in pieces:
        if checksum:  # only gzip has one
            checksum = isal_zlib.crc32_combine(checksum, piece.checksum, piece.length)
        else:
            checksum = piece.checksum
        length += piece.length
    return Piece(b"", checksum, length)

"""Decodes request bodies from their ``Content-Encoding``.

Decoding is incremental: a body that inflates beyond its limit is refused while it is being
inflated, so that a small body cannot fill the memory.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from mmap import mmap

from isal import isal_zlib

from pushgate.errors import InvalidBody, LimitExceeded, UnsupportedEncoding
from pushgate.model.quoting import go_quote

# zlib's wbits: the window of 32 KiB, and which header and trailer are around the deflate stream.
_RAW = -15
_ZLIB = 15
_GZIP = 31
_OUTPUT = 2**18  # inflated at a time
# Fed at a time, doubling from the first to the second. zlib copies what it has not used, so many
# small members in a body would each copy the rest of it.
_FIRST = 2**9
_INPUT = 2**16
# gzip members or zstd frames in a body: an empty one has some 20 bytes, and costs microseconds.
_MEMBERS = 10_000
_SMALL = 2**23  # inflated in one call, into one buffer
_SHOWN = 60


def decompress(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return *body* decoded; memory never grows much beyond *limit*.

    Args:
        body: the request body as sent.
        encoding: ``gzip``, ``snappy`` (the framing format), ``zstd``, ``deflate`` (zlib-wrapped
            or raw), or empty; lower case.
        limit: the maximum size of the result; 0 is no limit.

    Raises:
        InvalidBody: *body* is not in this *encoding*.
        LimitExceeded: the result is larger than *limit*.
        UnsupportedEncoding: *encoding* is unknown.
    """
    decode = _DECODERS.get(encoding)
    if decode is None:
        known = ", ".join(filter(None, _DECODERS))
        shown = go_quote(encoding[:_SHOWN])
        raise UnsupportedEncoding(f"unsupported Content-Encoding {shown}, use one of: {known}")
    return decode(body, limit or sys.maxsize)


class _Output:
    """Collects what was inflated, and refuses to grow beyond its limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = BytesIO()

    def write(self, piece: bytes) -> None:
        if self._buffer.tell() + len(piece) > self._limit:
            raise _too_large(self._limit)
        self._buffer.write(piece)

    def value(self) -> bytes:
        return self._buffer.getvalue()


_Decoder = Callable[[memoryview, _Output], memoryview]
"""Decodes the first member of a body, and returns what follows it."""


def _too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(f"the body is larger than {limit} bytes", "decompressed-bytes")


def _identity(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    # ISA-L is faster than zlib, and laxer about the optional parts of a header.
    if body[3:4] == b"\0":
        inflater = isal_zlib.decompressobj(_GZIP)
        with suppress(isal_zlib.error):  # type: ignore[arg-type]  # its stub has an instance
            plain: bytes = inflater.decompress(body, min(limit, _SMALL))
            if inflater.eof and not inflater.unused_data:
                return plain
    return _decoded(body, limit, _gunzip_member, "gzip: more than {} members in one body")


def _decoded(body: bytes, limit: int, decode: _Decoder, too_many: str) -> bytes:
    """Decode any number of members with nothing behind the last, as the Go server does."""
    output, rest = _Output(limit), memoryview(body)
    for _ in range(_MEMBERS):
        rest = decode(rest, output)
        if not rest:
            return output.value()
    raise InvalidBody(too_many.format(_MEMBERS))


def _gunzip_member(data: memoryview, output: _Output) -> memoryview:
    """Inflate the first member of *data* into *output*; return what follows it."""
    if len(data) < 10:  # a header is no shorter (RFC 1952, 2.3)
        raise InvalidBody("unexpected EOF" if data else "EOF")
    return data[_inflate(data, _GZIP, output) :]


def _inflate(data: memoryview, wbits: int, output: _Output) -> int:
    """Inflate the stream at the start of *data* into *output*; return its compressed length."""
    inflater, used = zlib.decompressobj(wbits), 0
    try:
        for piece in _pieces(data):
            used += len(piece)
            rest, full = bytes(piece), False
            # A full output says that there may be more to come out, even if all input is used.
            while (rest or full) and not inflater.eof:
                plain = inflater.decompress(rest, _OUTPUT)
                output.write(plain)
                rest, full = inflater.unconsumed_tail, len(plain) == _OUTPUT
            if inflater.eof:
                return used - len(inflater.unused_data)
    except zlib.error as error:
        raise InvalidBody(_fault(str(error), wbits)) from None
    raise InvalidBody("unexpected EOF")


def _fault(of_zlib: str, wbits: int) -> str:
    """Return what the Go server says about an error of zlib."""
    if wbits == _GZIP and of_zlib.endswith(("data check", "length check")):
        return "gzip: invalid checksum"
    if wbits == _GZIP and ("header" in of_zlib or of_zlib.endswith("compression method")):
        return "gzip: invalid header"
    return "flate: corrupt input"


def _pieces(data: memoryview) -> Iterator[memoryview]:
    """Cut *data* into pieces, small ones first, so that a short stream copies little."""
    start, size = 0, _FIRST
    while start < len(data):
        yield data[start : start + size]
        start, size = start + size, min(2 * size, _INPUT)


def _deflate(body: bytes, limit: int) -> bytes:
    if not body:
        raise InvalidBody("unexpected EOF")
    # "deflate" is zlib-wrapped (RFC 9110, 8.4.1.2), but some clients send it bare. A zlib header
    # names method 8 and is a multiple of 31 (RFC 1950, 2.2); few bare streams begin like that.
    wrapped = body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    output = _Output(limit)
    if _inflate(memoryview(body), _ZLIB if wrapped else _RAW, output) < len(body):
        raise InvalidBody("deflate: data after the end of the stream")
    return output.value()


_ZSTD_WINDOW = 23  # 8 MiB: RFC 9659 lets no content encoding ask for more


def _unzstd(body: bytes, limit: int) -> bytes:
    return _decoded(body, limit, _unzstd_frame, "zstd: more than {} frames in one body")


def _unzstd_frame(data: memoryview, output: _Output) -> memoryview:
    """Decode the first frame of *data* into *output*; return what follows it."""
    from pushgate.formats.zstd import zstd

    frame = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
    )
    used = 0
    try:
        for piece in _pieces(data):
            used += len(piece)
            output.write(frame.decompress(piece, _OUTPUT))
            while not (frame.eof or frame.needs_input):  # more output than asked for at a time
                output.write(frame.decompress(b"", _OUTPUT))
            if frame.eof:
                return data[used - len(frame.unused_data) :]
    except zstd.ZstdError:
        raise InvalidBody("zstd: corrupt input") from None
    raise InvalidBody("unexpected EOF")


_SNAPPY_RATIO = 22  # a copy of up to 64 bytes takes three, and nothing is denser


def _unsnappy(body: bytes, limit: int) -> bytes:
    import cramjam

    try:
        if _SNAPPY_RATIO * len(body) <= limit:
            return bytes(cramjam.snappy.decompress(body))
        with mmap(-1, limit) as memory:  # takes only what is written to it
            return memory[: cramjam.snappy.decompress_into(body, memory)]
    except cramjam.DecompressionError as error:
        if "write whole buffer" in str(error):
            raise _too_large(limit) from None
        kind = "unsupported" if "unsupported" in str(error) else "corrupt"
        raise InvalidBody(f"snappy: {kind} input") from None


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "": _identity,
    "gzip": _gunzip,
    "snappy": _unsnappy,
    "zstd": _unzstd,
    "deflate": _deflate,
}

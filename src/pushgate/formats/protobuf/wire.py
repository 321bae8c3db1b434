"""The protobuf wire format, one field at a time.

Every ``append`` function appends to a ``bytearray``. Repeated numbers are not packed, because
``metrics.proto`` is proto2. (Protocol Buffers, "Encoding".)
"""

from struct import Struct

# A tag is the number of a field, shifted by three bits, and one of these wire types.
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_DOUBLE = Struct("<d").pack
_MASK64 = (1 << 64) - 1


def append_varint(out: bytearray, value: int) -> None:
    """Append *value*; a negative one as its 64-bit two's complement."""
    if 0 <= value < 0x80:  # almost every tag and length
        out.append(value)
        return
    value &= _MASK64
    while value >= 0x80:  # seven bits a byte, the lowest first; the high bit says "more follows"
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def append_uint(out: bytearray, field: int, value: int) -> None:
    """Append an ``int32``, ``int64``, ``uint32``, ``uint64`` or enum field."""
    append_varint(out, field << 3 | _VARINT)
    append_varint(out, value)


def append_sint(out: bytearray, field: int, value: int) -> None:
    """Append a ``sint32`` or ``sint64`` field: zigzag, so that -1 is short."""
    append_varint(out, field << 3 | _VARINT)
    append_varint(out, value << 1 if value >= 0 else ~(value << 1))


def append_double(out: bytearray, field: int, value: float) -> None:
    """Append a ``double`` field."""
    append_varint(out, field << 3 | _FIXED64)
    out += _DOUBLE(value)


def append_bytes(out: bytearray, field: int, value: bytes | bytearray) -> None:
    """Append a ``bytes`` field, or an embedded message."""
    append_varint(out, field << 3 | _BYTES)
    append_varint(out, len(value))
    out += value


def append_text(out: bytearray, field: int, value: str) -> None:
    """Append a ``string`` field."""
    append_bytes(out, field, value.encode())


def append_delimited(out: bytearray, message: bytes | bytearray) -> None:
    """Append *message* after its length, as in a stream of messages."""
    append_varint(out, len(message))
    out += message


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at *at* and what follows it.

    Raises:
        ValueError: there is none, or it has more than 64 bits.
    """
    if at < len(data) and data[at] < 0x80:  # almost every tag and length
        return data[at], at + 1
    value = shift = 0
    # 64 bits take ten bytes at most; the tenth may hold only the one that is left.
    for position, byte in enumerate(data[at : at + 10], at + 1):
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _MASK64:
                raise ValueError("an integer has more than 64 bits")
            return value, position
        shift += 7
    raise ValueError("the message ends early")

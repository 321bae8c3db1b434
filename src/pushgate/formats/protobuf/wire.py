"""The protobuf wire format, one field at a time.

Repeated numbers are not packed, because ``metrics.proto`` is proto2. Fields that are written have
numbers below 128. (Protocol Buffers, "Encoding".)
"""

from struct import Struct

# A tag is the number of a field, shifted by three bits, and one of these wire types.
_VARINT, _FIXED64, _BYTES = 0, 1, 2
double = Struct("<d").pack
"""Returns a number as the eight bytes that follow its tag."""
_MASK64 = (1 << 64) - 1
_FEW = 1024


def varint(value: int) -> bytes:
    """Return *value* as a varint; a negative one as its 64-bit two's complement."""
    return _SMALL[value] if 0 <= value < _FEW else _varint(value & _MASK64)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:  # seven bits a byte, the lowest first; the high bit says "more follows"
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [*map(_varint, range(_FEW))]  # almost every tag, length and count


def field(number: int, content: bytes) -> bytes:
    """Return *content* as the bytes field or embedded message *number*."""
    return _SMALL[number << 3 | _BYTES] + varint(len(content)) + content


def uint_field(number: int, value: int) -> bytes:
    """Return an ``int32``, ``int64``, ``uint32``, ``uint64`` or enum field."""
    return _SMALL[number << 3 | _VARINT] + varint(value)


def sint_field(number: int, value: int) -> bytes:
    """Return a ``sint32`` or ``sint64`` field: zigzag, so that -1 is short."""
    return uint_field(number, value << 1 if value >= 0 else ~(value << 1))


def double_field(number: int, value: float) -> bytes:
    """Return a ``double`` field."""
    return _SMALL[number << 3 | _FIXED64] + double(value)


def delimited(message: bytes) -> bytes:
    """Return *message* after its length, as in a stream of messages."""
    return varint(len(message)) + message


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at *at* and its end; raise ValueError if it has over 64 bits, or no end."""
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

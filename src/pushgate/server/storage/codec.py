"""Encodes groups and shapes for the journal. Every version must read what older ones wrote.

The state of a group: a CRC-32 of its labels and of the rest, three times, the history of its
pushes, its last failure, and its blocks, each with shape id, time, numbers, details, the times of
its families if they differ, and dropped families. Until format 3 no block had several times, until
format 2 there was neither history nor failure. A shape: a CRC-32 of its id and of the rest, and
JSON, in which text that is not UTF-8 has lone surrogates, and null stands for the labels of the
family before. Integers are little-endian; times are Unix nanoseconds.
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from sys import intern
from typing import Any
from zlib import crc32

import orjson

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.quoting import raw, text
from pushgate.model.shape import Pushed, PushShape, interned
from pushgate.server.store.group import Block, Failure, Group

_CHECKSUM = struct.Struct("<I")
_TIMES = struct.Struct("<qqq")
_BLOCK = struct.Struct("<QqII")
_LENGTH = struct.Struct("<I")
# Of the history, and of the failure's reason and source.
_PAST = struct.Struct("<BHH")
# Instead of the length of a reason: there is no failure.
_NO_FAILURE = 0xFFFF
# In the number of details: behind them come the places of the families that are dropped, and
# before these the times of all families.
_HAS_DROPPED = 1 << 31
_HAS_TIMES = 1 << 30
_DETAILS = _HAS_TIMES - 1
_TIME_BYTES = 8
_NUMBER = struct.Struct("<q")
# Ten times as fast as to call the type.
_TYPES = {int(kind): kind for kind in MetricType}
# How much becomes JSON in one call, during which all other threads wait.
_AT_ONCE = 1024  # labels of metrics
_BYTES_AT_ONCE = 1 << 20  # label values


def encode_group(group: Group, shape_id: Callable[[PushShape], int]) -> bytes:
    """Return the state of *group*, without its key. *shape_id* names the shapes."""
    parts = [_TIMES.pack(group.pushed_at, group.failed_at, group.since)]
    history, failure = group.history, group.failure
    if failure is None:
        parts += [_PAST.pack(len(history), _NO_FAILURE, 0), history]
    else:
        reason, source = raw(failure.reason), raw(failure.source)
        parts += [_PAST.pack(len(history), len(reason), len(source)), history, reason, source]
    for block in group.blocks:
        shape, numbers, details, *_ = block.pushed
        dropped = [shape.label_schema.positions[name] for name in block.dropped]
        count = len(details)
        if dropped:
            count |= _HAS_DROPPED
        if block.times:
            count |= _HAS_TIMES
        parts.append(_BLOCK.pack(shape_id(shape), block.received, len(numbers), count))
        parts.append(numbers)
        for detail in details:
            parts += [_LENGTH.pack(len(detail)), detail]
        parts.append(block.times)
        if dropped:
            parts.append(struct.pack(f"<{len(dropped) + 1}I", len(dropped), *dropped))
    state = b"".join(parts)
    return _CHECKSUM.pack(crc32(state, crc32(group.key.packed))) + state


def decode_group(key: bytes, state: bytes, shape: Callable[[int], PushShape]) -> Group:
    """Return the group with the packed *key*; *shape* finds the shapes.

    Raises:
        ValueError: the bytes are not what :func:`encode_group` wrote.
        KeyError: a shape is missing.
    """
    state = _checked(key, state)
    try:
        length, reason, source = _PAST.unpack_from(state, _TIMES.size)
        at = _TIMES.size + _PAST.size
        history = state[at : at + length]
        at += length
        failure = None
        if reason != _NO_FAILURE:
            ends = at + reason, at + reason + source
            failure = Failure(text(state[at : ends[0]]), text(state[ends[0] : ends[1]]))
            at = ends[1]
        return _group(key, state, tuple(_blocks(state, at, shape)), failure, history)
    except struct.error as error:
        raise ValueError(f"it ends early: {error}") from error


def decode_group_2(key: bytes, state: bytes, shape: Callable[[int], PushShape]) -> Group:
    """Return the group that a file of format 1 or 2 has, as :func:`decode_group` does."""
    state = _checked(key, state)
    try:
        return _group(key, state, tuple(_blocks(state, _TIMES.size, shape)), None, b"")
    except struct.error as error:
        raise ValueError(f"it ends early: {error}") from error


def _checked(key: bytes, state: bytes) -> bytes:
    """Return *state* without its checksum, which is right."""
    try:
        (checksum,) = _CHECKSUM.unpack_from(state)
    except struct.error as error:
        raise ValueError(f"it ends early: {error}") from error
    state = state[_CHECKSUM.size :]
    if checksum != crc32(state, crc32(key)):
        raise ValueError("its checksum is wrong")
    return state


def _group(
    key: bytes, state: bytes, blocks: tuple[Block, ...], failure: Failure | None, history: bytes
) -> Group:
    pushed_at, failed_at, since = _TIMES.unpack_from(state)
    return Group(
        GroupingKey.unpack(key),
        blocks,
        pushed_at=pushed_at,
        failed_at=failed_at,
        since=since,
        failure=failure,
        history=history,
    )


def labels_of(key: bytes) -> str:
    """Return the labels of the packed *key*, which may be damaged, for messages."""
    try:
        return str(GroupingKey.unpack(key))
    except (ValueError, AttributeError):
        return repr(key)


def _blocks(state: bytes, at: int, shape: Callable[[int], PushShape]) -> Iterator[Block]:
    while at < len(state):
        shape_id, received, length, count = _BLOCK.unpack_from(state, at)
        at += _BLOCK.size
        numbers = state[at : at + length]
        at += length
        details = []
        for _ in range(count & _DETAILS):
            (length,) = _LENGTH.unpack_from(state, at)
            at += _LENGTH.size
            details.append(state[at : at + length])
            at += length
        pushed = Pushed(shape(shape_id), numbers, tuple(details))
        times = b""
        if count & _HAS_TIMES:
            length = _TIME_BYTES * len(pushed.shape.names)
            times = state[at : at + length]
            at += length
        dropped = frozenset[str]()
        if count & _HAS_DROPPED:
            (length,) = _LENGTH.unpack_from(state, at)
            places = struct.unpack_from(f"<{length}I", state, at + _LENGTH.size)
            dropped = frozenset(pushed.shape.names[place] for place in places)
            at += _LENGTH.size * (1 + length)
        if at > len(state):
            raise ValueError("it ends early")
        yield Block(pushed, received, dropped, times)


def encode_shape(number: int, shape: PushShape) -> bytes:
    """Return *shape*, which has the id *number*."""
    longest = shape.extent.labels * shape.extent.label_value_bytes
    at_once = min(_AT_ONCE, 1 + _BYTES_AT_ONCE // max(longest, 1))
    families: list[bytes] = []
    before: tuple[Labels, ...] | None = None
    for family in shape.families:
        families.append(_encoded_family(family, at_once, shares_labels=family.labels is before))
        before = family.labels
    encoded = b"[%b]" % b",".join(families)
    return _CHECKSUM.pack(_shape_checksum(number, encoded)) + encoded


def _encoded_family(family: FamilyShape, at_once: int, *, shares_labels: bool) -> bytes:
    name, kind, said, labels, bounds, as_text = family
    ends = [True] if as_text else []
    if len(labels) <= at_once:
        return _json([name, int(kind), said, None if shares_labels else labels, bounds, *ends])
    parts = [
        *map(_json, (name, int(kind), said)),
        b"null" if shares_labels else _array(labels, at_once),
        _array(bounds, at_once),
        *map(_json, ends),
    ]
    return b"[" + b",".join(parts) + b"]"


def _array(items: Sequence[object], at_once: int) -> bytes:
    """Return *items* as JSON, *at_once* of them in a call."""
    starts = range(0, len(items), at_once)
    return b"[" + b",".join([_json(items[at : at + at_once])[1:-1] for at in starts]) + b"]"


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value).encode()  # it writes lone surrogates


def decode_shape(number: int, encoded: bytes) -> PushShape:
    """Return the shape with the id *number*.

    Raises:
        ValueError: it is not what :func:`encode_shape` wrote for *number*.
    """
    try:
        (checksum,) = _CHECKSUM.unpack_from(encoded)
        encoded = encoded[_CHECKSUM.size :]
        if checksum != _shape_checksum(number, encoded):
            raise ValueError("its checksum is wrong")
    except (struct.error, TypeError) as error:
        raise ValueError(f"not a shape: {error}") from error
    return decode_shape_1(encoded)


def decode_shape_1(encoded: str | bytes) -> PushShape:
    """Return the shape as files of format 1 have it, without a checksum.

    Raises:
        ValueError: *encoded* is not a shape.
    """
    families: list[FamilyShape] = []
    read: list[list[list[str]]] | None = None
    pairs: tuple[Labels, ...] = ()
    try:
        for name, kind, help_, labels, bounds, *more in _parsed(encoded):
            # Families that share their labels go on sharing them.
            shares_labels = bool(families) if labels is None else labels == read
            if not shares_labels:
                read, pairs = labels, tuple(map(_pairs, labels))
            said = None if help_ is None else intern(help_)
            points = tuple(map(tuple, bounds)) if bounds else ()
            as_text = True in more
            families.append(FamilyShape(intern(name), _TYPES[kind], said, pairs, points, as_text))
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a shape: {error}") from error
    return interned(tuple(families))


def _parsed(encoded: str | bytes) -> list[list[Any]]:
    try:
        parsed: list[list[Any]] = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        parsed = json.loads(encoded)  # it reads lone surrogates
    return parsed


def _pairs(metric: list[list[str]]) -> Labels:
    return tuple([(intern(label), value) for label, value in metric])


def _shape_checksum(number: int, encoded: bytes) -> int:
    return crc32(encoded, crc32(_NUMBER.pack(number)))

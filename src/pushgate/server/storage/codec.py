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
# How much becomes JSON in one call, or is read in one, during which all other threads wait.
_AT_ONCE = 1024  # labels of metrics
_BYTES_AT_ONCE = 1 << 20  # label values
_FAMILY_BYTES_AT_ONCE = 256 << 10
# White space that means nothing in JSON, and that no text in it has, marks where to cut it: before
# some families, and before, between and after some labels and some bounds of a large one.
_FAMILIES, _LABELS, _BOUNDS = b"\n", b"\r", b"\t"


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
    size = 0
    for family in shape.families:
        encoded = _encoded_family(family, at_once, shares_labels=family.labels is before)
        before = family.labels
        is_large = len(family.labels) > at_once
        size += len(encoded)
        if is_large or size > _FAMILY_BYTES_AT_ONCE:
            # What follows a large one is not read with it either.
            size = _FAMILY_BYTES_AT_ONCE if is_large else len(encoded)
            encoded = _FAMILIES + encoded
        families.append(encoded)
    encoded = b"[%b]" % b",".join(families)
    return _CHECKSUM.pack(_shape_checksum(number, encoded)) + encoded


def _encoded_family(family: FamilyShape, at_once: int, *, shares_labels: bool) -> bytes:
    name, kind, said, labels, bounds, as_text = family
    ends = [True] if as_text else []
    if len(labels) <= at_once:
        return _json([name, int(kind), said, None if shares_labels else labels, bounds, *ends])
    parts = [
        *map(_json, (name, int(kind), said)),
        b"null" if shares_labels else _array(labels, at_once, _LABELS),
        _array(bounds, at_once, _BOUNDS),
        *map(_json, ends),
    ]
    return b"[" + b",".join(parts) + b"]"


def _array(items: Sequence[object], at_once: int, mark: bytes) -> bytes:
    """Return *items* as JSON, *at_once* of them in a call, and around them *mark*."""
    starts = range(0, len(items), at_once)
    some = [_json(items[at : at + at_once])[1:-1] for at in starts]
    return b"[" + mark + (b"," + mark).join(some) + mark + b"]"


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
        for name, kind, help_, labels, bounds, *more in _families(encoded):
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


def _families(encoded: str | bytes) -> Iterator[list[Any]]:
    """Yield the families in *encoded*, as lists."""
    if isinstance(encoded, str) or _FAMILIES not in encoded:
        yield from _parsed(encoded)
        return
    for part in encoded[1:-1].split(_FAMILIES):
        without_labels, labels = _without_marked(part.removesuffix(b","), _LABELS)
        small, bounds = _without_marked(without_labels, _BOUNDS)
        families = _parsed(b"[%b]" % small)
        for at, items in ((3, labels), (4, bounds)):
            if items is not None:
                families[0][at] = items
        yield from families


def _without_marked(encoded: bytes, mark: bytes) -> tuple[bytes, list[Any] | None]:
    """Return *encoded* without the items of the array that has *mark* around them, and these."""
    head, *parts = encoded.split(mark)
    if not parts:
        return encoded, None
    *some, rest = parts
    items = [item for part in some for item in _parsed(b"[%b]" % part.removesuffix(b","))]
    return head + rest, items


def _parsed(encoded: str | bytes) -> list[Any]:
    try:
        parsed: list[Any] = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        parsed = json.loads(encoded)  # it reads lone surrogates
    return parsed


def _pairs(metric: list[list[str]]) -> Labels:
    return tuple([(intern(label), value) for label, value in metric])


def _shape_checksum(number: int, encoded: bytes) -> int:
    return crc32(encoded, crc32(_NUMBER.pack(number)))

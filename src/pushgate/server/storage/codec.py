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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    return _with_checksum(b"".join(parts), group.key.packed)


class DamagedRecord(ValueError):
    """A record is not what was written; the message names it, and what is wrong."""

    def __init__(self, record: str, error: Exception) -> None:
        match error:
            case struct.error():
                what = f"it ends early: {error}"
            case ValueError():
                what = str(error)
            case _:
                what = f"it has another form: {error!r}"
        super().__init__(f"{record}: {what}")


_WRONG = (ValueError, TypeError, KeyError, struct.error)
"""What the readers of a record raise."""


def decode_group(
    key: bytes, state: bytes, shapes: Mapping[int, PushShape], *, has_past: bool = True
) -> Group:
    """Return the group with the packed *key*, whose shapes are among *shapes*.

    Without *has_past* it is of format 1 or 2, which have neither failures nor histories.

    Raises:
        DamagedRecord: the bytes are not what :func:`encode_group` wrote, or a shape is missing.
    """
    try:
        return _group(key, _without_checksum(state, key), shapes, has_past=has_past)
    except _WRONG as error:
        raise DamagedRecord(f"group {_labels_of(key)}", error) from error


def _group(key: bytes, state: bytes, shapes: Mapping[int, PushShape], *, has_past: bool) -> Group:
    pushed_at, failed_at, since = _TIMES.unpack_from(state)
    at = _TIMES.size
    history, failure = b"", None
    if has_past:
        length, reason, source = _PAST.unpack_from(state, at)
        at += _PAST.size
        history = state[at : at + length]
        at += length
        if reason != _NO_FAILURE:
            ends = at + reason, at + reason + source
            failure = Failure(text(state[at : ends[0]]), text(state[ends[0] : ends[1]]))
            at = ends[1]
    return Group(
        GroupingKey.unpack(key),
        tuple(_blocks(state, at, shapes)),
        pushed_at=pushed_at,
        failed_at=failed_at,
        since=since,
        failure=failure,
        history=history,
    )


def _labels_of(key: bytes) -> str:
    """Return the labels of the packed *key*, which may be damaged, for messages."""
    try:
        return str(GroupingKey.unpack(key))
    except (ValueError, AttributeError):
        return repr(key)


def _blocks(state: bytes, at: int, shapes: Mapping[int, PushShape]) -> Iterator[Block]:
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
        shape = shapes.get(shape_id)
        if shape is None:
            raise ValueError(f"it needs shape {shape_id}")
        pushed = Pushed(shape, numbers, tuple(details))
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
    longest = shape.label_schema.most_labels * shape.longest_value
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
    return _with_checksum(b"[%b]" % b",".join(families), _NUMBER.pack(number))


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


def decode_shape(number: int, encoded: bytes, *, has_checksum: bool = True) -> PushShape:
    """Return the shape with the id *number*.

    Without *has_checksum* it is of format 1, which has none of shapes.

    Raises:
        DamagedRecord: it is not what :func:`encode_shape` wrote for *number*.
    """
    try:
        if has_checksum:
            encoded = _without_checksum(encoded, _NUMBER.pack(number))
        return _shape(encoded)
    except _WRONG as error:
        raise DamagedRecord(f"shape {number}", error) from error


def _shape(encoded: bytes) -> PushShape:
    families: list[FamilyShape] = []
    read: list[list[list[str]]] | None = None
    pairs: tuple[Labels, ...] = ()
    for name, kind, help_, labels, bounds, *more in _families(encoded):
        # Families that share their labels go on sharing them.
        shares_labels = bool(families) if labels is None else labels == read
        if not shares_labels:
            read, pairs = labels, tuple(map(_pairs, labels))
        said = None if help_ is None else intern(help_)
        points = tuple(map(tuple, bounds)) if bounds else ()
        as_text = True in more
        families.append(FamilyShape(intern(name), _TYPES[kind], said, pairs, points, as_text))
    return interned(tuple(families))


def _families(encoded: bytes) -> Iterator[list[Any]]:
    if _FAMILIES not in encoded:
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


def _parsed(encoded: bytes) -> list[Any]:
    try:
        parsed: list[Any] = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        parsed = json.loads(encoded)  # it reads lone surrogates
    return parsed


def _pairs(metric: list[list[str]]) -> Labels:
    return tuple([(intern(label), value) for label, value in metric])


def _with_checksum(data: bytes, owner: bytes) -> bytes:
    return _CHECKSUM.pack(crc32(data, crc32(owner))) + data


def _without_checksum(data: bytes, owner: bytes) -> bytes:
    """Return what :func:`_with_checksum` was given; raise ValueError if it is not that."""
    (checksum,) = _CHECKSUM.unpack_from(data)
    data = data[_CHECKSUM.size :]
    if checksum != crc32(data, crc32(owner)):
        raise ValueError("its checksum is wrong")
    return data

"""Groups as the JSON API shows them, in pieces that are quickly made.

The text is Go's ``encoding/json``: keys of maps sorted bytewise, ``<``, ``>``, ``&`` and
the line separators escaped, bytes that are not UTF-8 shown as U+FFFD. Numbers are strings.
"""

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate, chain, islice, pairwise, repeat
from typing import Any, Final, NamedTuple

import orjson

from pushgate.formats.assembly import is_float_histogram
from pushgate.formats.details import Described, count_text, describe
from pushgate.model.grouping import Labels
from pushgate.model.layout import sanitised
from pushgate.model.numbers import go_float
from pushgate.model.quoting import raw
from pushgate.model.shape import FamilyShape, MetricType
from pushgate.server.group import PUSH_FAILURE_TIME, PUSH_TIME, Group

# About half a millisecond of work.
_SLOTS_PER_PIECE = 200

_META = frozenset({"labels", "last_push_successful"})

_HTML_MARKS = (b"<", b">", b"&", b"\xe2\x80")
_HTML = re.compile(b"[<>&]|\xe2\x80[\xa8\xa9]")
_HTML_ESCAPES: Final[Mapping[bytes, bytes]] = {
    b"<": rb"\u003c",
    b">": rb"\u003e",
    b"&": rb"\u0026",
    b"\xe2\x80\xa8": rb"\u2028",
    b"\xe2\x80\xa9": rb"\u2029",
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def encoded(value: Any) -> bytes:
    """Return *value* as Go's ``encoding/json`` writes it."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # not UTF-8: rare, so it may be slow
        slow = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        text = _LONE_SURROGATE.sub(r"\\ufffd", slow).encode()
    if any(mark in text for mark in _HTML_MARKS):
        return _HTML.sub(lambda match: _HTML_ESCAPES[match[0]], text)
    return text


def local_time(nanoseconds: int) -> str:
    """Return a time since the epoch as Go's RFC3339Nano, in the local time zone."""
    seconds, rest = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone().isoformat()
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{moment[:19]}{fraction}{moment[19:].replace('+00:00', 'Z')}"


class Family(NamedTuple):
    """One metric family of a group; ``received`` is in Unix nanoseconds."""

    shape: FamilyShape
    received: int
    numbers: Sequence[str]
    details: Sequence[bytes]


def listing(groups: Iterable[Group]) -> Iterator[bytes]:
    """Yield *groups* as a JSON array, in pieces."""
    separator = b"["
    for group in groups:
        yield separator
        yield from _group(group)
        separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _group(group: Group) -> Iterator[bytes]:
    members = yield from _members(group)
    meta = {"labels": dict(group.key.labels), "last_push_successful": group.last_push_successful}
    names = sorted([*members, *meta], key=raw)
    if sum(family.shape.slots for family in members.values()) <= _SLOTS_PER_PIECE:
        yield _small_group(names, meta, members, group.key.labels)
    else:
        yield from _large_group(names, meta, members, group.key.labels)


def _members(group: Group) -> Generator[bytes, None, dict[str, Family]]:
    """Return the families of *group* by name, less those named as the group's own keys."""
    members: dict[str, Family] = {}
    for count, family in enumerate(families(group), 1):
        members[family.shape.name] = family
        if count % _SLOTS_PER_PIECE == 0:
            yield b""
    for name in _META & members.keys():
        del members[name]
    return members


def _small_group(
    names: list[str], meta: Mapping[str, Any], members: Mapping[str, Family], grouping: Labels
) -> bytes:
    """Return nearly every group. All at once is twice as fast as :func:`_large_group`."""
    written = cache(local_time)
    shown = {
        name: _head(family, written) | {"metrics": [*_metrics(family, grouping)]}
        for name, family in members.items()
    }
    return encoded({name: shown[name] if name in shown else meta[name] for name in names})


def _large_group(
    names: list[str], meta: Mapping[str, Any], members: Mapping[str, Family], grouping: Labels
) -> Iterator[bytes]:
    written = cache(local_time)
    separators = chain([b"{"], repeat(b","))
    for separator, name in zip(separators, names, strict=False):
        yield b"%b%b:" % (separator, encoded(name))
        if name in meta:
            yield encoded(meta[name])
        else:
            yield encoded(_head(members[name], written))[:-1] + b',"metrics":['
            yield from _in_batches(members[name], grouping)
            yield b"]}"
    yield b"}"


def families(group: Group) -> Iterator[Family]:
    """Yield the metric families of *group*, those of its push times last."""
    for block in group.blocks:
        shape, details = block.pushed.shape, block.pushed.details
        numbers = block.pushed.numbers.decode().split(" ")
        metrics = accumulate((len(family.labels) for family in shape.families), initial=0)
        for family, slots, places in zip(
            shape.families, pairwise(shape.starts), pairwise(metrics), strict=True
        ):
            yield Family(family, block.received, numbers[slice(*slots)], details[slice(*places)])
    for shape_of_time, time in (
        (PUSH_TIME, group.pushed_at),
        (PUSH_FAILURE_TIME, group.failed_at),
    ):
        yield Family(shape_of_time, time or group.since, [go_float(time / 1e9)], ())


def _head(family: Family, written: Callable[[int], str]) -> dict[str, Any]:
    head = {"time_stamp": written(family.received), "type": family.shape.type.name}
    return head | {"help": family.shape.help} if family.shape.help else head


def _in_batches(family: Family, grouping: Labels) -> Iterator[bytes]:
    metrics = _metrics(family, grouping)
    size = max(1, _SLOTS_PER_PIECE * len(family.shape.labels) // max(1, family.shape.slots))
    separator = b""
    while batch := list(islice(metrics, size)):
        yield separator + encoded(batch)[1:-1]
        separator = b","


def _metrics(family: Family, grouping: Labels) -> Iterator[dict[str, Any]]:
    shape, show = family.shape, _SHOWN[family.shape.type]
    for index, (labels, at) in enumerate(zip(shape.labels, shape.metric_slots(), strict=True)):
        complete = dict(sanitised(labels, grouping))
        yield show(family, index, complete, family.numbers[at.start : at.stop])


def _simple(
    _family: Family, _index: int, labels: dict[str, str], numbers: Sequence[str]
) -> dict[str, Any]:
    return {"labels": labels, "value": numbers[0]}


def _summary(
    family: Family, index: int, labels: dict[str, str], numbers: Sequence[str]
) -> dict[str, Any]:
    *values, total, count = numbers
    described = _described(family, index)
    return {
        "count": described.total if described else _whole(count),
        "labels": labels,
        "quantiles": _by_bound(family, index, values),
        "sum": total,
    }


def _histogram(
    family: Family, index: int, labels: dict[str, str], numbers: Sequence[str]
) -> dict[str, Any]:
    *counts, total, count = numbers
    described = _described(family, index)
    if described:
        counts, count = [*described.buckets], described.total
    elif not is_float_histogram([number.encode() for number in (*counts, count)]):
        counts, count = [_whole(each) for each in counts], _whole(count)
    native = native_buckets(family.details[index]) if described else None
    classic = _by_bound(family, index, counts)
    return {
        "buckets": classic if native is None else native,
        "count": count,
        "labels": labels,
        "sum": total,
    }


def _described(family: Family, index: int) -> Described | None:
    return describe(family.details[index]) if family.details else None


def _by_bound(family: Family, index: int, values: Sequence[str]) -> dict[str, str]:
    """Return *values* by their bounds, sorted; of equal bounds the last counts."""
    return dict(sorted(dict(zip(family.shape.bounds[index], values, strict=True)).items()))


def _whole(number: str) -> str:
    """Return a whole *number* without an exponent."""
    return number if number.isdecimal() else str(int(float(number)))


def native_buckets(detail: bytes) -> list[tuple[int, str, str, str]] | None:
    """Return the buckets of a native histogram; None if there are none in *detail*."""
    described = describe(detail)
    if described is None or described.native is None:
        return None
    return [
        (boundaries, go_float(lower), go_float(upper), count_text(population))
        for boundaries, lower, upper, population in described.native
    ]


_SHOWN: Final[
    dict[MetricType, Callable[[Family, int, dict[str, str], Sequence[str]], dict[str, Any]]]
] = {
    MetricType.COUNTER: _simple,
    MetricType.GAUGE: _simple,
    MetricType.UNTYPED: _simple,
    MetricType.SUMMARY: _summary,
    MetricType.HISTOGRAM: _histogram,
    MetricType.GAUGE_HISTOGRAM: _histogram,
}

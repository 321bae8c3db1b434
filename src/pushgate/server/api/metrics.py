"""All groups with their metrics, at ``/api/v1/metrics``."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Scope

from pushgate.formats.protobuf.description import count_text
from pushgate.model.family import MetricType
from pushgate.model.grouping import Labels
from pushgate.model.layout import sanitised
from pushgate.model.native import NativeBucket
from pushgate.model.numbers import go_float
from pushgate.model.quoting import raw
from pushgate.model.slices import Sliced, pausing
from pushgate.server.api.responses import JSON, encoded, encoded_in_pieces
from pushgate.server.http.context import AppContext
from pushgate.server.http.families import Family, families, held_bytes, local_time, sorted_in_steps
from pushgate.server.http.slow_readers import SlowReaders
from pushgate.server.http.stream import Stream
from pushgate.server.store.group import Group


async def metrics(context: AppContext, _scope: Scope) -> ASGIApp:
    """Answer with all groups. Pushes may change some of them while the response is sent."""
    walk = chain.from_iterable(context.gateway.store.walk())
    groups = groups_as_json(walk, context.slow_readers)
    pieces = chain([b'{"status":"success","data":'], groups, [b"}"])
    return Stream(pieces, JSON)


# What is written at a time, in about half a millisecond.
_SLOTS_PER_PIECE = 200
_LONG_LABELS = 1000
# Readers of smaller groups hold no more than their connections do.
_UNCOUNTED = 64 << 10


def groups_as_json(groups: Iterable[Group], readers: SlowReaders) -> Iterator[bytes]:
    """Yield *groups* as a JSON array, in pieces that take about half a millisecond each.

    *readers* counts what is held by the task that takes them.
    """
    separator = b"["
    for group in groups:
        yield separator
        size = held_bytes(group)
        yield from readers.holding(_group(group), size) if size > _UNCOUNTED else _group(group)
        separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _group(group: Group) -> Iterator[bytes]:
    """Yield *group* as a JSON object: a large family by itself, smaller ones together."""
    most = yield from pausing(_slots_per_piece(group), b"")
    # These keys hide families of the same names.
    meta = {"labels": dict(group.key.labels), "last_push_successful": group.last_push_successful}
    shown = ((f.shape.name, f) for f in families(group) if f.shape.name not in meta)
    members = chain(((name, None) for name in meta), shown)
    written = cache(local_time)  # thousands of families of a group have one time in common
    start = b"{"
    some: dict[str, Any] = {}
    slots = 0
    ordered = sorted_in_steps(members, lambda member: raw(member[0]))
    for name, family in (yield from pausing(ordered, b"")):
        size = family.size if family else 0
        slots += 1 + size
        if slots > most and some:
            yield start + encoded(some)[1:-1]
            start, some, slots = b",", {}, 1 + size
        if family is None:
            some[name] = meta[name]
        elif slots <= most:
            metrics = [_complete(metric) for metric in _metrics(family, group.key.labels)]
            some[name] = _head(family, written) | {"metrics": metrics}
        else:
            head = encoded(_head(family, written))[:-1]
            yield b'%b%b:%b,"metrics":' % (start, encoded(name), head)
            yield from _long_metrics(family, group.key.labels, most)
            yield b"}"
            start, slots = b",", 0
    if some:
        yield start + encoded(some)[1:-1]
    yield b"}"


def _slots_per_piece(group: Group) -> Sliced[int]:
    """Return how many slots are written at a time: fewer where labels are long."""
    values = 0
    for block in group.blocks:
        values = max(values, (yield from block.pushed.shape.measuring()))
    return max(1, _SLOTS_PER_PIECE // (1 + (len(group.key.packed) + values) // _LONG_LABELS))


def _head(family: Family, written: Callable[[int], str]) -> dict[str, Any]:
    head = {"time_stamp": written(family.received), "type": family.shape.type.name}
    return head | {"help": family.shape.help} if family.shape.help else head


def _long_metrics(family: Family, grouping: Labels, most: int) -> Iterator[bytes]:
    """Yield the metrics of a large *family*, a few at a time or each in pieces."""
    metrics = _metrics(family, grouping)
    if at_once := most * len(family.shape.labels) // family.size:
        yield from encoded_in_pieces(map(_complete, metrics), list, at_once)
        return
    separator = b"["
    for metric in metrics:
        yield separator
        yield from _in_pieces(metric)
        separator = b","
    yield b"]"


class _NativeBuckets(NamedTuple):
    """The buckets of a native histogram."""

    buckets: Iterable[NativeBucket]

    def whole(self) -> list[tuple[int, str, str, str]]:
        return [*self._rows()]

    def pieces(self) -> Iterator[bytes]:
        return encoded_in_pieces(self._rows(), list, _SLOTS_PER_PIECE)

    def _rows(self) -> Iterator[tuple[int, str, str, str]]:
        """Yield each bucket as the Go server shows it: boundaries, lower, upper, population."""
        for boundaries, lower, upper, population in self.buckets:
            yield boundaries, go_float(lower), go_float(upper), count_text(population)


class _Points(NamedTuple):
    """The buckets or quantiles of a metric; of equal bounds the last counts."""

    pairs: Iterable[tuple[str, str]]

    def whole(self) -> dict[str, str]:
        return dict(sorted(dict(self.pairs).items()))

    def pieces(self) -> Iterator[bytes]:
        by_bound: dict[str, str] = {}
        pairs = iter(self.pairs)
        while batch := [*islice(pairs, _SLOTS_PER_PIECE)]:
            by_bound.update(batch)
            yield b""
        ordered = yield from pausing(sorted_in_steps(by_bound.items(), itemgetter(0)), b"")
        yield from encoded_in_pieces(ordered, dict, _SLOTS_PER_PIECE)


_Long = (_NativeBuckets, _Points)


def _complete(metric: dict[str, Any]) -> dict[str, Any]:
    return {k: v.whole() if isinstance(v, _Long) else v for k, v in metric.items()}


def _in_pieces(metric: dict[str, Any]) -> Iterator[bytes]:
    """Yield what :func:`_complete` returns for a large *metric*, in steps."""
    separator = b"{"
    for key, value in metric.items():
        yield b"%b%b:" % (separator, encoded(key))
        separator = b","
        yield from value.pieces() if isinstance(value, _Long) else (encoded(value),)
    yield b"}"


def _metrics(family: Family, grouping: Labels) -> Iterator[dict[str, Any]]:
    kind = family.shape.type
    for metric in family.metrics():
        labels = dict(sanitised(metric.labels, grouping))
        if kind.is_simple:
            [value] = metric.values
            yield {"labels": labels, "value": value}
            continue
        counted = {"count": metric.observations, "labels": labels}
        points = _Points(zip(metric.bounds, metric.values, strict=True))
        if kind is MetricType.SUMMARY:
            yield {**counted, "quantiles": points, "sum": metric.total}
        else:
            buckets = points if metric.native is None else _NativeBuckets(metric.native)
            yield {"buckets": buckets, **counted, "sum": metric.total}

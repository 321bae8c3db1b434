"""Reads the persistence file of the Go Pushgateway, 0.10 and newer. No I/O.

The file is one stream of Go's ``encoding/gob``: definitions of types, then a map from
grouping key to group. A group has labels, and for each family the time of the push it
came with and its ``MetricFamily`` message.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from pushgate.errors import InvalidBody
from pushgate.formats.protobuf.reader import decode
from pushgate.formats.protobuf.wire import delimited
from pushgate.model.family import MetricType
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.quoting import go_quote, is_utf8, text
from pushgate.model.shape import Pushed, interned, joining
from pushgate.model.slices import finished

# Numbers of the types that every gob stream has.
_BYTES, _STRING = 5, 6
# Seconds from the year 1, from which Go counts, to 1970.
_UNIX_EPOCH = 62_135_596_800
_NEVER = 0
_PUSH_TIME, _FAILURE_TIME = "push_time_seconds", "push_failure_time_seconds"


class StoredGroup(NamedTuple):
    """A group of the Go server. Times are Unix nanoseconds; 0 means never.

    *pushes* are the families by the time of the push that they came with, oldest first.
    """

    key: GroupingKey
    pushes: tuple[tuple[Pushed, int], ...]
    pushed_at: int
    failed_at: int
    since: int


class GoFile(NamedTuple):
    """The groups of a file, and a line for everything in it that cannot be imported."""

    groups: list[StoredGroup]
    left_out: list[str]


def read(data: bytes) -> GoFile:
    """Return the groups in the file *data*, with the times of their pushes.

    Groups are not checked for consistency, only for what a group cannot exist without.

    Raises:
        ValueError: *data* is no such file, or not all of it.
    """
    groups, left_out = [], []
    for packed, stored in _Stream(data).groups().items():
        labels = tuple((text(n), text(v)) for n, v in stored.get("Labels", {}).items())
        key = GroupingKey(labels)
        if key.packed != packed:
            raise ValueError(
                f"the group {go_quote(text(packed))} has labels that differ from its key"
            )
        if "job" not in key.names or not all(map(is_utf8, chain(*labels))):
            left_out.append(f"{key}: its labels could never be scraped")
            continue
        groups.append(_group(key, stored.get("Metrics", {}), left_out))
    return GoFile(groups, left_out)


# --- Gob --------------------------------------------------------------------------------


class _Stream:
    """Reads a gob stream up to and including its first value."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._types: dict[int, dict[str, Any]] = {}

    def groups(self) -> dict[bytes, dict[str, Any]]:
        """Return the value: a map from grouping key to ``Labels`` and ``Metrics``.

        Raises:
            ValueError: it is another value, or the stream ends early.
        """
        while True:
            self._uint()  # the length of the message
            # Definitions of types come first, under negative numbers.
            number = self._int()
            if number >= 0:
                break
            self._types[-number] = self._definition()
        self._take(1)  # a zero byte precedes values that are not structs
        return self._map(number, self._group)

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise ValueError("it ends early")
        self._at += size
        return taken

    def _uint(self) -> int:
        # Small numbers are one byte. Of others the first byte is minus the number of bytes
        # that follow, most significant first.
        (first,) = self._take(1)
        if first < 0x80:
            return first
        if first < 0xF8:
            raise ValueError("it has an integer of more than 8 bytes")
        return int.from_bytes(self._take(0x100 - first), "big")

    def _int(self) -> int:
        value = self._uint()  # its lowest bit is the sign; then the others are inverted
        return ~(value >> 1) if value & 1 else value >> 1

    def _bytes(self) -> bytes:
        return self._take(self._uint())

    def _struct(self, fields: list[tuple[str, Callable[[], Any]]]) -> dict[str, Any]:
        """Return the fields that are present, which are those with non-zero values."""
        # Each field begins with its distance from the field before; 0 ends the struct.
        out, at = {}, -1
        while delta := self._uint():
            at += delta
            if at >= len(fields):
                raise ValueError("it has a struct with more fields than its type")
            name, read_field = fields[at]
            out[name] = read_field()
        return out

    def _definition(self) -> dict[str, Any]:
        """Return the definition of a type: a ``wireType``, which has exactly one field set."""
        named: list[tuple[str, Callable[[], Any]]] = [("name", self._bytes), ("id", self._int)]
        common = ("common", lambda: self._struct(named))
        elem = ("elem", self._int)
        fields = ("fields", lambda: [self._struct(named) for _ in range(self._uint())])
        return self._struct(
            [
                ("array", lambda: self._struct([common, elem, ("len", self._int)])),
                ("slice", lambda: self._struct([common, elem])),
                ("struct", lambda: self._struct([common, fields])),
                ("map", lambda: self._struct([common, ("key", self._int), elem])),
                # Types that encode themselves: as bytes, as binary, as text.
                ("opaque", lambda: self._struct([common])),
                ("opaque", lambda: self._struct([common])),
                ("opaque", lambda: self._struct([common])),
            ]
        )

    def _defined(self, number: int, kind: str) -> Any:
        definition = self._types.get(number, {}).get(kind)
        if definition is None:
            raise ValueError("it holds something other than groups")
        return definition

    def _map(self, number: int, read_value: Callable[[int], Any]) -> dict[bytes, Any]:
        defined = self._defined(number, "map")
        if defined.get("key") != _STRING:
            raise ValueError("it is not a map by text, as Pushgateways from 0.10 on write it")
        elem = defined.get("elem", 0)
        return {self._bytes(): read_value(elem) for _ in range(self._uint())}

    def _named(self, number: int, readers: Mapping[str, Callable[[int], Any]]) -> dict[str, Any]:
        """Return the fields of a struct of type *number*; *readers* maps names to readers."""
        fields: list[tuple[str, Callable[[], Any]]] = []
        for field in self._defined(number, "struct").get("fields", ()):
            name = text(field.get("name", b""))
            if name not in readers:
                raise ValueError(f"it has a field {go_quote(name)} that no Pushgateway writes")
            fields.append((name, partial(readers[name], field.get("id", 0))))
        return self._struct(fields)

    def _group(self, number: int) -> dict[str, Any]:
        return self._named(
            number,
            {
                "Labels": lambda labels: self._map(labels, self._text),
                "Metrics": lambda families: self._map(families, self._family),
            },
        )

    def _family(self, number: int) -> dict[str, Any]:
        return self._named(
            number, {"Timestamp": self._opaque, "GobbableMetricFamily": self._opaque}
        )

    def _text(self, number: int) -> bytes:
        if number not in {_BYTES, _STRING}:
            raise ValueError("a label is not text")
        return self._bytes()

    def _opaque(self, number: int) -> bytes:
        if number != _BYTES:
            self._defined(number, "opaque")
        return self._bytes()


# --- Groups -----------------------------------------------------------------------------


def _unix_nanoseconds(time: bytes) -> int:
    """Return a Go ``time.Time`` in its binary form, version 1 or 2."""
    if not time:
        return _NEVER
    # Version 2 has a byte more, for zones with seconds.
    if len(time) not in {15, 16}:
        raise ValueError("it has a time of an unknown form")
    # Version, seconds since the year 1, nanoseconds, and the zone, which only matters for display.
    seconds = int.from_bytes(time[1:9], "big", signed=True) - _UNIX_EPOCH
    return _storable(seconds * 10**9 + int.from_bytes(time[9:13], "big"))


def _storable(nanoseconds: int) -> int:
    # Times are stored in 64 bits, enough for the years 1678 to 2262.
    return nanoseconds if abs(nanoseconds) < 1 << 63 else _NEVER


def _group(
    key: GroupingKey, families: Mapping[bytes, Mapping[str, bytes]], left_out: list[str]
) -> StoredGroup:
    """Return the group; for each family that cannot be imported, add a line to *left_out*."""
    times = {_PUSH_TIME: (_NEVER, _NEVER), _FAILURE_TIME: (_NEVER, _NEVER)}
    pushes: dict[int, list[Pushed]] = {}
    # Sorted by name, so that equal groups have equal shapes.
    for raw_name, family in sorted(families.items()):
        name = text(raw_name)
        time = _unix_nanoseconds(family.get("Timestamp", b""))
        try:
            pushed = _pushed(name, family.get("GobbableMetricFamily", b""))
        except InvalidBody as error:
            left_out.append(f"{key}: {error}")
            continue
        if name in times:
            times[name] = time, _moment(pushed, time)
        else:
            pushes.setdefault(time, []).append(pushed)
    born = [time for time, _ in times.values()] + [*pushes]
    return StoredGroup(
        key,
        tuple((_joined(pushes[time], key.labels), time) for time in sorted(pushes)),
        pushed_at=times[_PUSH_TIME][1],
        failed_at=times[_FAILURE_TIME][1],
        since=min(filter(None, born), default=_NEVER),
    )


def _pushed(name: str, message: bytes) -> Pushed:
    """Return the family in *message*; raise InvalidBody if no push could have brought it."""
    pushed = decode(delimited(message))
    for fault, what in (
        (pushed.shape.names != (name,), "another name inside"),
        (pushed.timestamped, "timestamps"),
        (pushed.wrong_types, "metrics without a value of its type"),
    ):
        if fault:
            raise InvalidBody(f"the family {go_quote(name)} has {what}")
    return pushed


def _moment(pushed: Pushed, time: int) -> int:
    """Return the time of the push or failure that one of the server's own families has.

    The family is seconds as a double; *time*, if it is the same, has the nanoseconds.
    """
    (family,) = pushed.shape.families
    if family.type is not MetricType.GAUGE or not pushed.numbers:
        return _NEVER
    seconds = float(pushed.numbers.split()[0])
    # A double of seconds is exact to about 200 ns only.
    if seconds == time / 1e9:
        return time
    return _storable(round(seconds * 1e9)) if math.isfinite(seconds) else _NEVER


def _joined(parts: list[Pushed], grouping: Labels) -> Pushed:
    """Return *parts* as one push, without the labels that the group adds."""
    added = dict(grouping)
    own: list[Pushed] = []
    for part in parts:
        (family,) = part.shape.families
        labels = tuple(
            # The Go server adds an empty instance to the metrics of a group without one.
            tuple(pair for pair in metric if pair[0] not in added and pair != ("instance", ""))
            for metric in family.labels
        )
        own.append(part._replace(shape=interned((family._replace(labels=labels),))))
    return finished(joining(own))

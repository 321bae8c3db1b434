"""Bounded caches of what was read.

Every entry is charged what it really costs: a body of 16 kB with 2,000 names becomes 2 MB
of shape and layout. A key that is seen for the first time is only noted (``wants``), so a client
whose label values are new in each push fills nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from threading import RLock
from typing import Generic, TypeVar
from weakref import ref

from pushgate.model.shape import PushShape

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
S = TypeVar("S", str, bytes)

_MAX_NOTED = 20_000  # 2 MB of hashes
# Measured on ordinary shapes: what an object takes, and each part of a shape with its layout.
_OBJECT_BYTES = 64
_FAMILY_BYTES = 1000
_SERIES_BYTES = 300
_LABEL_BYTES = 250


def remembered(*, entries: int, longest: int) -> Callable[[Callable[[S], V]], Callable[[S], V]]:
    """Give a function of one text an ``lru_cache`` that only texts up to *longest* enter."""

    def decorate(read: Callable[[S], V]) -> Callable[[S], V]:
        known = lru_cache(entries)(read)

        def recall(text: S) -> V:
            return known(text) if len(text) <= longest else read(text)

        return recall

    return decorate


class _Entry(Generic[V]):
    __slots__ = ("is_used", "size", "value")

    def __init__(self, value: V, size: int) -> None:
        self.value = value
        self.size = size
        self.is_used = False


class BoundedCache(Generic[K, V]):
    """Keeps the entries used last, up to a number of bytes. Safe to use from several threads.

    An entry that was used is only marked. When its turn to go comes, it loses the mark instead.
    To move it to the end at each use would hash and compare its key, a whole body, once more.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = RLock()
        self.bytes = 0
        """How much memory the entries take."""
        self._noted: set[int] = set()
        self._kept: OrderedDict[K, _Entry[V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return what was put under *key*, if it is still here."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        entry.is_used = True
        return entry.value

    def wants(self, key: K) -> bool:
        """Return whether *key* is worth an entry: this was asked before, not long ago."""
        # Hashes only: a key may be as large as a body. One that collides enters a push early.
        digest = hash(key)
        if digest in self._noted:
            return True
        if len(self._noted) >= _MAX_NOTED:
            self._noted.clear()
        self._noted.add(digest)
        return False

    def put(self, key: K, value: V, size: int) -> bool:
        """Keep *value*, which costs *size* bytes; entries used longest ago make room for it.

        Returns:
            Whether it is kept; an entry may take a quarter of the room at most.
        """
        if size > self._max_bytes // 4:
            return False
        with self._lock:
            self.drop(key)
            self.bytes += size
            while self.bytes > self._max_bytes:
                oldest, entry = self._kept.popitem(last=False)
                if entry.is_used:
                    entry.is_used = False
                    self._kept[oldest] = entry
                else:
                    self.bytes -= entry.size
            self._kept[key] = _Entry(value, size)
        return True

    def drop(self, key: K) -> None:
        with self._lock:
            entry = self._kept.pop(key, None)
            if entry:
                self.bytes -= entry.size


class ShapeCache(Generic[K, V]):
    """Finds the shape of a body, and how its numbers are read, by everything but its numbers.

    A shape that a group holds costs only its key. Of all other shapes the last few are held; the
    rest are dropped, and their entries with them.
    """

    def __init__(self, max_bytes: int) -> None:
        """Start empty; *max_bytes* are for the keys, and as many for shapes that no group holds."""
        self._entries: BoundedCache[K, tuple[ref[PushShape], V]] = BoundedCache(max_bytes)
        # A shape that is too large for it stays known as long as a group holds it.
        self._held: BoundedCache[PushShape, PushShape] = BoundedCache(max_bytes)

    @property
    def bytes(self) -> int:
        """How much memory the cache takes at most: its keys, and the shapes that it holds."""
        return self._entries.bytes + self._held.bytes

    def get(self, key: K) -> tuple[PushShape, V] | None:
        """Return what was put under *key*, if it is still here."""
        found = self._entries.get(key)
        if found is None:
            return None
        shape = found[0]()
        if shape is None:
            return None
        self._held.get(shape)  # marks it as used
        return shape, found[1]

    def wants(self, key: K) -> bool:
        """Return whether *key* is worth an entry; see :meth:`BoundedCache.wants`."""
        return self._entries.wants(key)

    def put(self, key: K, shape: PushShape, how: V, key_bytes: int) -> None:
        """Keep *shape* and *how* its numbers are read, which must not refer to the shape.

        *key_bytes* is what *key* costs, see :func:`key_cost`.
        """
        # Weak, so that the entry goes with its shape, whose layouts take most of the memory.
        known = ref(shape, lambda gone: self._drop(key, gone))
        if self._entries.put(key, (known, how), key_bytes):
            self._held.put(shape, shape, shape_cost(shape))

    def _drop(self, key: K, gone: ref[PushShape]) -> None:
        """Forget *key*, unless it has another shape by now."""
        # Told by the reference: if it knew its own entry, only the garbage collector could free it.
        found = self._entries.get(key)
        if found and found[0] is gone:
            self._entries.drop(key)


def key_cost(pieces: Sequence[object], total: int) -> int:
    """Return about how many bytes *pieces* cost that hold *total* bytes."""
    return total + _OBJECT_BYTES * len(pieces)


def shape_cost(shape: PushShape) -> int:
    """Return about how many bytes *shape* costs, its layout included."""
    series = sum(len(family.labels) for family in shape.families)
    labels = sum(len(labels) for family in shape.families for labels in family.labels)
    bounds = shape.series - series
    return (
        _FAMILY_BYTES * len(shape.families)
        + _SERIES_BYTES * (series + bounds)
        + _LABEL_BYTES * labels
    )

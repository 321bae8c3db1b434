"""A bounded memory of shapes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ShapeCache(Generic[K, V]):
    """Keeps what was used last, up to a number of bytes.

    A shape that a group holds outlives its place here: it is interned
    (:func:`pushgate.model.shape.interned`), so reading it again finds the same object.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return what was put under *key*, if it is still here."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep *value*, which costs about *size* bytes; the least recently used goes."""
        if size > self._most // 4:
            return
        _, replaced = self._kept.pop(key, (None, 0))
        self._kept[key] = (value, size)
        self._bytes += size - replaced
        while self._bytes > self._most:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= dropped

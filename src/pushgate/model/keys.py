"""Long tuples as keys of dictionaries.

One call into C may not take long, because all other threads wait for it; to hash or compare
a tuple of 100,000 items is one call.
"""

from collections.abc import Hashable, Sequence

PER_PIECE = 1024
"""So many items are hashed or compared at once."""


class LongKey:
    """Equal for equal *pieces*. They are hashed once, and compared one after the other."""

    __slots__ = ("_hash", "_pieces")

    def __init__(self, pieces: Sequence[Hashable]) -> None:
        self._pieces = pieces
        self._hash = hash(tuple([hash(piece) for piece in pieces]))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LongKey)
            and self._hash == other._hash
            and len(self._pieces) == len(other._pieces)
            and all(a == b for a, b in zip(self._pieces, other._pieces, strict=True))
        )


def key_of(*columns: tuple[Hashable, ...]) -> Hashable:
    """Return *columns* as a key, cut into pieces if they are long."""
    if max(map(len, columns)) <= PER_PIECE:
        return columns
    pieces: list[Hashable] = [tuple(map(len, columns))]
    for column in columns:
        pieces += [column[at : at + PER_PIECE] for at in range(0, len(column), PER_PIECE)]
    return LongKey(pieces)

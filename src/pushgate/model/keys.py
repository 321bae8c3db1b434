"""Long tuples as keys of dictionaries.

To hash or compare a tuple of 100,000 items is one call into C, during which all other threads
wait. So long keys are cut into pieces that are hashed and compared one at a time.
"""

from collections.abc import Hashable, Iterable, Sequence

from pushgate.model.slices import Sliced, finished

PER_PIECE = 1024
"""How many items are hashed or compared at once."""


class LongKey:
    """A key of *pieces*, which are compared one after the other; *digest* is its hash."""

    __slots__ = ("_digest", "_pieces")

    def __init__(self, pieces: Sequence[Hashable], digest: int) -> None:
        self._pieces = pieces
        self._digest = digest

    def __hash__(self) -> int:
        return self._digest

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LongKey)
            and self._digest == other._digest
            and len(self._pieces) == len(other._pieces)
            and all(a == b for a, b in zip(self._pieces, other._pieces, strict=True))
        )


def long_key(pieces: Iterable[Hashable]) -> Sliced[LongKey]:
    """Return a key of *pieces*, each of which is hashed in a slice of its own."""
    kept: list[Hashable] = []
    hashes: list[int] = []
    for piece in pieces:
        kept.append(piece)
        hashes.append(hash(piece))
        yield
    return LongKey(kept, hash(tuple(hashes)))


def key_of(*columns: tuple[Hashable, ...]) -> Hashable:
    """Return *columns* as a key, cut into pieces if they are long."""
    if max(map(len, columns)) <= PER_PIECE:
        return columns
    # The lengths come first, or columns cut at other places could make the same pieces.
    pieces: list[Hashable] = [tuple(map(len, columns))]
    for column in columns:
        pieces += [column[at : at + PER_PIECE] for at in range(0, len(column), PER_PIECE)]
    return finished(long_key(pieces))

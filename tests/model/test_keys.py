"""Long keys are equal exactly when what they are made of is."""

import pytest
from hypothesis import given, strategies as st

from pushgate.model.keys import PER_PIECE, LongKey, key_of, long_key
from pushgate.model.slices import finished

LONG = tuple(range(PER_PIECE + 1))


def test_a_short_column_is_its_own_key():
    assert key_of(("a", "b")) == (("a", "b"),)


@pytest.mark.parametrize("columns", [(LONG,), (LONG, ("a",)), ((), LONG)])
def test_long_columns_are_one_key_wherever_they_come_from(columns):
    copies = tuple((*column,) for column in columns)
    one, other = key_of(*columns), key_of(*copies)
    assert isinstance(one, LongKey)
    assert (one, hash(one)) == (other, hash(other))


@pytest.mark.parametrize(
    "other",
    [
        (LONG[:-1],),
        ((*LONG[:-1], "x"),),
        (LONG, ()),
        # The same items, divided in another way.
        (LONG[:-1], LONG[-1:]),
    ],
)
def test_other_columns_are_another_key(other):
    assert key_of(LONG) != key_of(*other)


def test_keys_of_the_same_hash_are_compared_piece_by_piece():
    assert LongKey([1, 2], 7) != LongKey([1, 3], 7)
    assert LongKey([1, 2], 7) != LongKey([1], 7)
    assert LongKey([1, 2], 7) == LongKey([1, 2], 7)


@given(st.lists(st.tuples(st.integers())))
def test_a_key_yields_once_for_each_piece(pieces):
    work = long_key(pieces)
    assert sum(1 for _ in work) == len(pieces)
    assert finished(long_key(pieces)) == finished(long_key(iter(pieces)))

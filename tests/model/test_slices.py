"""Work in slices returns what the same work does in one go, and yields often enough."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from pushgate.model.slices import Sliced, draining, finished, listing, mapping, pausing, sorting

T = TypeVar("T")
MANY = range(10_000)


def pauses(work: Sliced[T]) -> int:
    return sum(1 for _ in work)


def add(a: int, b: int) -> Sliced[int]:
    yield
    yield
    return a + b


def test_finished_work_returns_its_result():
    assert finished(add(1, 2)) == 3


def test_an_error_inside_the_work_reaches_whoever_drives_it():
    def failing() -> Sliced[None]:
        yield
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        finished(failing())


def test_work_inside_another_generator_yields_what_that_one_yields():
    def outer():
        total = yield from pausing(add(1, 2), "pause")
        yield f"total {total}"

    assert list(outer()) == ["pause", "pause", "total 3"]


@pytest.mark.parametrize("count", [0, 1, 2048, 2049, 10_000])
def test_many_items_are_listed_in_slices(count):
    assert finished(listing(iter(range(count)))) == list(range(count))


@pytest.mark.parametrize("count", [0, 1, 256, 257, 10_000])
def test_many_pairs_become_a_dict_in_slices_and_the_last_of_equal_keys_counts(count):
    pairs = [(number // 2, number) for number in range(count)]
    assert finished(mapping(iter(pairs))) == dict(pairs)


@pytest.mark.parametrize("count", [0, 1, 2048, 2049, 10_000])
@pytest.mark.parametrize("key", [lambda n: -n, lambda n: n % 7, lambda n: n * 7919 % 10_007])
def test_many_items_are_sorted_in_slices_and_equal_ones_stay_in_order(
    count: int, key: Callable[[int], int]
):
    items = list(range(count))
    assert finished(sorting(items, key)) == sorted(items, key=key)


@pytest.mark.parametrize(
    "work",
    [
        listing,
        lambda items: mapping((n, n) for n in items),
        lambda items: sorting(items, lambda n: -n),
    ],
)
def test_long_work_pauses_and_short_work_does_not(work):
    assert pauses(work(MANY)) >= 4
    assert pauses(work(range(100))) == 0


def test_who_takes_items_one_by_one_holds_only_those_that_are_left():
    items = [1, 2, 3]
    drain = draining(items)
    assert (next(drain), sorted(items), [*drain], items) == (1, [2, 3], [2, 3], [])

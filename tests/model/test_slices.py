"""Work in slices gives the results of work done at once."""

from hypothesis import given, strategies as st

from pushgate.model import slices
from pushgate.model.slices import Sliced, finished, pausing, sorting


def counting(to: int) -> Sliced[int]:
    """Return *to* after as many slices."""
    for _ in range(to):
        yield
    return to


def test_work_is_run_to_its_result():
    assert finished(counting(3)) == 3
    assert finished(counting(0)) == 0


def test_inside_other_work_each_slice_is_a_pause():
    results = []

    def outer():
        results.append((yield from pausing(counting(2), "pause")))

    assert list(outer()) == ["pause", "pause"]
    assert results == [2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers()), max_size=50), st.integers(1, 8))
def test_sorting_is_stable_and_the_same_as_at_once(pairs, at_once):
    before = slices._SORTED_AT_ONCE
    slices._SORTED_AT_ONCE = at_once
    try:
        found = finished(sorting(pairs, lambda pair: pair[0]))
    finally:
        slices._SORTED_AT_ONCE = before
    assert found == sorted(pairs, key=lambda pair: pair[0])


def test_sorting_much_takes_several_slices():
    work = sorting(range(10_000), lambda number: -number)
    assert sum(1 for _ in pausing(work, None)) > 10

from collections.abc import Iterable

import pytest
from hypothesis import given, strategies as st

from pushgate.model.slices import finished
from pushgate.server.store.group import (
    MAX_BLOCKS,
    MAX_HISTORY,
    Attempt,
    Block,
    Failure,
    Group,
    compaction,
    noted,
    without_times,
)
from tests.server.pushes import key, pushed

SECOND = 10**9
MANY = "".join(f"m{number} 1\n" for number in range(300))


def block(body: str, received: int = 7) -> Block:
    return Block(pushed(body), received)


def group(*bodies: str, pushed_at: int = 0, failed_at: int = 0, history: bytes = b"") -> Group:
    return Group(
        key(), tuple(map(block, bodies)), pushed_at=pushed_at, failed_at=failed_at, since=1,
        failure=Failure("it is bad", "10.0.0.7"), history=history,
    )  # fmt: skip


def names(families) -> list[str]:
    return sorted(family.name for family in families)


def test_the_families_that_the_server_keeps_itself_are_dropped_from_a_push():
    both = pushed("m 1\npush_time_seconds 2\npush_failure_time_seconds 3\n")
    assert without_times(both).shape.names == ("m",)
    assert without_times(both).numbers == b"1"
    assert without_times(pushed("push_time_seconds 2\n")).shape.names == ()
    nothing_of_them = pushed("m 1\n")
    assert without_times(nothing_of_them) is nothing_of_them


def without(one: Block, families: Iterable[str]) -> Block | None:
    return finished(one.removal(one.held(frozenset(families))))


@pytest.mark.parametrize("body", ["m0 1\nm1 1\nm2 1\n", MANY], ids=["small", "large"])
def test_a_block_less_some_families_has_the_others_and_is_as_old(body):
    one = block(body)
    rest = without(one, {"m1", "unknown"})
    assert names(rest.families()) == sorted({*one.pushed.shape.names} - {"m1"})
    assert (rest.series, rest.received) == (one.series - 1, 7)
    assert list(one.families(frozenset({"m1"}))) != []
    assert list(rest.families(frozenset({"m1"}))) == []
    assert names(rest.families(frozenset({"m1", "m2", "unknown"}))) == ["m2"]


def test_a_block_holds_the_families_that_are_left():
    one = block(MANY)
    assert one.held(frozenset({"m1", "m2", "unknown"})) == {"m1", "m2"}
    assert without(one, {"m1"}).held(frozenset({"m1", "m2"})) == {"m2"}
    assert one.held(frozenset({"unknown"})) == frozenset()


@pytest.mark.parametrize("body", ["m 1\n", MANY], ids=["small", "large"])
def test_of_a_block_without_all_its_families_nothing_is_left(body):
    one = block(body)
    assert without(one, one.pushed.shape.names) is None


def test_a_large_block_notes_what_it_dropped_until_that_is_the_half():
    one = block(MANY)
    few = without(one, {"m1"})
    assert few.pushed is one.pushed
    most = without(few, (f"m{number}" for number in range(200)))
    assert most.dropped == frozenset()
    assert len(most.pushed.shape.names) == most.series == 100


def times(blocks) -> dict[str, int]:
    """Return when each family that is left in *blocks* was received."""
    return {
        name: time
        for one in blocks
        for name, time in zip(one.pushed.shape.names, one.times_of_families(), strict=True)
        if name not in one.dropped
    }


def many_blocks(count: int = 2 * MAX_BLOCKS) -> list[Block]:
    return [block(f"m{number} {number}\n", number) for number in range(count)]


def large_blocks() -> list[Block]:
    return [block(MANY.replace("m", f"l{number}_")) for number in range(MAX_BLOCKS)]


def test_a_few_blocks_stay_as_they_are():
    few = many_blocks(count=MAX_BLOCKS)
    assert finished(compaction(few)) is few


def test_of_many_blocks_the_smaller_ones_are_joined():
    large = [block(f"a{n} 1\nb{n} 1\n", 200 + n) for n in range(MAX_BLOCKS // 2)]
    small = many_blocks()
    joined, *rest = finished(compaction([*large, *small]))
    assert rest == large
    assert names(joined.families()) == sorted(f"m{number}" for number in range(len(small)))
    assert joined.pushed.numbers.split() == [b"%d" % number for number in range(len(small))]
    assert (joined.series, times([joined])) == (len(small), times(small))


def test_a_joined_block_only_notes_what_it_dropped():
    joined, *_ = finished(compaction(many_blocks()))
    less = without(joined, {"m1"})
    assert (less.pushed, less.dropped) == (joined.pushed, frozenset({"m1"}))
    assert less.series == joined.series - 1


def test_whatever_goes_the_rest_of_a_joined_block_was_received_when_it_was():
    before = times(many_blocks())
    joined, *_ = finished(compaction(many_blocks()))
    few = without(joined, (f"m{number}" for number in range(30)))
    left = without(few, (f"m{number}" for number in range(100)))
    assert left.dropped == frozenset()
    again, *_ = finished(compaction([few, *large_blocks()]))
    assert len(times([left])) == joined.size - 100
    assert times([left]).items() <= before.items()
    assert times([few]).items() <= before.items() & times([again]).items()


def test_what_a_block_dropped_is_not_joined():
    small = finished(compaction(many_blocks()))[0]
    small = without(small, {"m1"})
    joined, *_ = finished(compaction([small, *large_blocks()]))
    assert {"m1"}.isdisjoint(joined.pushed.shape.name_set)
    assert {"m2"} <= joined.pushed.shape.name_set
    assert joined.dropped == frozenset()


def test_the_details_of_joined_blocks_stay_with_their_metrics():
    first = block("b 1\n")
    with_detail = Block(pushed("a 1\n")._replace(details=(b"detail",)), 1)
    joined, *_ = finished(compaction([first, with_detail, *[block("c 1\nd 1\n")] * MAX_BLOCKS]))
    details = dict(zip(joined.pushed.shape.names, joined.pushed.details, strict=False))
    assert (details["a"], details["b"]) == (b"detail", b"")


def test_a_group_counts_the_families_and_series_of_its_blocks():
    one = group('m{a="1"} 1\nm{a="2"} 1\nn 1\n', "o 1\n")
    assert (one.families, one.series) == (3, 4)


def test_the_history_has_the_last_pushes_oldest_first():
    history = b""
    for number in range(30):
        history = noted(history, number * SECOND, is_accepted=number % 3 > 0)
    assert group(history=history).attempts == [
        Attempt(number * SECOND, number % 3 > 0) for number in range(30 - MAX_HISTORY, 30)
    ]


@given(st.integers(0, 2**38), st.booleans())
def test_any_second_can_be_noted(second, is_accepted):
    history = noted(b"", second * SECOND + 5, is_accepted=is_accepted)
    assert group(history=history).attempts == [Attempt(second * SECOND, is_accepted)]


def test_without_a_history_the_times_are_the_attempts():
    assert group(pushed_at=9, failed_at=5).attempts == [Attempt(5, False), Attempt(9, True)]
    assert group(failed_at=5).attempts == [Attempt(5, False)]


@pytest.mark.parametrize(
    ("pushed_at", "failed_at", "is_successful", "last_pushed"),
    [(9, 0, True, 9), (9, 5, True, 9), (5, 5, True, 5), (5, 9, False, 5), (0, 5, False, 1)],
)
def test_a_failure_counts_until_the_next_push(pushed_at, failed_at, is_successful, last_pushed):
    one = group(pushed_at=pushed_at, failed_at=failed_at)
    assert (one.last_push_successful, one.last_pushed) == (is_successful, last_pushed)


def test_a_group_whose_metrics_expired_keeps_the_rest():
    one = group("m 1\n", pushed_at=9, failed_at=5, history=noted(b"", SECOND, is_accepted=True))
    rest = one.without_metrics()
    assert rest.blocks == ()
    for kept in ("key", "pushed_at", "failed_at", "since", "failure", "history"):
        assert getattr(rest, kept) == getattr(one, kept)

"""What a batch comes to: one step for each group."""

from pushgate.server.storage.journal import coalesced, idempotency_keys, replacement
from pushgate.server.store.group import Group
from pushgate.server.store.store import Step
from tests.server.pushes import key


def group(job: str, pushed_at: int = 1) -> Group:
    return Group(key(job), (), since=pushed_at).pushed((), pushed_at)


def test_the_steps_of_a_group_become_one_from_the_first_state_to_the_last():
    first, second, third = group("a", 1), group("a", 2), group("a", 3)
    steps = [Step(first, second), Step(None, group("b")), Step(second, third)]
    one, other = coalesced(steps)
    assert (one.before, one.after) == (first, third)
    assert other is steps[1]


def test_a_group_that_came_and_went_is_no_step():
    brief = group("a")
    assert coalesced([Step(None, brief), Step(brief, None)]) == []


def test_a_group_that_went_and_came_back_is_replaced():
    old, new = group("a", 1), group("a", 2)
    assert coalesced([Step(old, None), Step(None, new)]) == [Step(old, new)]


def test_keys_have_the_times_of_their_pushes():
    steps = [Step(None, group("a", 5), b"k"), Step(None, group("b", 6)), Step(group("c"), None)]
    assert idempotency_keys(steps) == {b"k": 5}


def test_what_is_replaced_goes_unless_it_is_wanted_too():
    old, kept, new, fresh = group("a"), group("b", 1), group("b", 2), group("c")
    assert replacement([old, kept], [new, fresh]) == [
        Step(kept, new), Step(None, fresh), Step(old, None),
    ]  # fmt: skip

from hypothesis import given, strategies as st

from pushgate.model.slices import PER_SLICE, finished
from pushgate.server.store.schedule import Schedule


def scheduled(**due: int) -> Schedule:
    schedule = Schedule()
    for name, time in due.items():
        schedule.enter(name.encode(), time)
    return schedule


def taken(schedule: Schedule, now: int) -> list[bytes]:
    return schedule.take(now, 10**6)


def test_groups_are_taken_out_when_they_are_due_the_earliest_first():
    schedule = scheduled(b=2, a=1, c=3)
    assert schedule.first == 1
    assert taken(schedule, 2) == [b"a", b"b"]
    assert (schedule.first, len(schedule)) == (3, 1)
    assert taken(schedule, 2) == []


def test_an_empty_schedule_has_nothing_to_wait_for():
    assert Schedule().first is None
    assert taken(Schedule(), 10) == []


def test_a_group_is_taken_out_once_at_its_earliest_time():
    schedule = scheduled(a=5)
    schedule.enter(b"a", 9)
    schedule.enter(b"a", 2)
    assert len(schedule) == 1
    assert taken(schedule, 10) == [b"a"]


def test_no_more_entries_are_taken_than_was_asked_for_whether_void_or_not():
    schedule = scheduled(a=5, b=6, c=7)
    schedule.enter(b"a", 1)
    assert [schedule.take(10, 2) for _ in range(3)] == [[b"a"], [b"b", b"c"], []]


def test_a_removed_group_is_not_taken_out():
    schedule = scheduled(a=1, b=2)
    schedule.remove(b"a")
    schedule.remove(b"never entered")
    assert taken(schedule, 10) == [b"b"]


def test_many_removals_are_made_in_slices_and_leave_no_void_entries():
    names = [b"%d" % number for number in range(3 * PER_SLICE)]
    schedule = Schedule()
    for number, name in enumerate(names):
        schedule.enter(name, number)
        for earlier in range(1, 5):
            schedule.enter(name, number - earlier)
    for name in names[: PER_SLICE // 2]:
        schedule.remove(name)
    assert len(list(schedule.compaction())) >= 2
    assert list(schedule.compaction()) == []
    assert taken(schedule, 10**6) == names[PER_SLICE // 2 :]


@given(
    st.lists(
        st.tuples(st.just("enter"), st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 9))
        | st.tuples(st.just("remove"), st.sampled_from([b"a", b"b", b"c"]))
        | st.tuples(st.just("take"), st.integers(0, 9))
    )
)
def test_any_calls_do_what_a_dictionary_of_due_times_would(calls):
    schedule, due = Schedule(), {}
    for call in calls:
        match call:
            case ("enter", group, time):
                schedule.enter(group, time)
                due[group] = min(time, due.get(group, time))
            case ("remove", group):
                schedule.remove(group)
                finished(schedule.compaction())
                due.pop(group, None)
            case ("take", now):
                expected = sorted(time for time in due.values() if time <= now)
                assert [due.pop(group) for group in taken(schedule, now)] == expected
        assert len(schedule) == len(due)
        assert not due or schedule.first <= min(due.values())

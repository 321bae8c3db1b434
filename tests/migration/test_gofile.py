"""Files of the Go Pushgateway, read."""

from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from pushgate.migration.gofile import StoredGroup, read
from pushgate.model.family import MetricType
from pushgate.model.grouping import GroupingKey
from tests.services import ROOT

SAMPLE = (ROOT / "tests/data/gob-sample/pushgateway-1.5.1.gob").read_bytes()
BATCH = GroupingKey([("job", "batch")])
BAD = GroupingKey([("job", "bad")])
INSTANCE = GroupingKey([("job", "/tmp/x"), ("instance", "i1")])


def sample() -> dict[GroupingKey, StoredGroup]:
    found = read(SAMPLE)
    assert found.left_out == []
    return {group.key: group for group in found.groups}


def test_every_group_is_there_under_its_key():
    assert sample().keys() == {BATCH, BAD, INSTANCE}


def test_families_come_with_type_help_labels_and_numbers():
    ((push, _),) = sample()[BATCH].pushes
    families = {family.name: family for family in push.shape.families}
    assert {name: family.type for name, family in families.items()} == {
        "c_total": MetricType.COUNTER,
        "g": MetricType.GAUGE,
        "h": MetricType.HISTOGRAM,
        "s": MetricType.SUMMARY,
        "u_untyped": MetricType.UNTYPED,
    }
    assert families["c_total"].help == "A counter"
    assert families["h"].bounds == (("0.1", "1", "+Inf"),)
    assert push.numbers == b"42 -1.5 NaN 1 3 4 2.5 4 0.2 0.7 12 20 7"


def test_the_labels_that_the_group_adds_are_taken_off():
    """So that groups that push the same share a shape."""
    ((push, _),) = sample()[BATCH].pushes
    labels = {family.name: family.labels for family in push.shape.families}
    assert labels["c_total"] == ((("a", "b"), ("u", "Προμηθεύς")),)
    assert labels["h"] == ((),)
    ((push, _),) = sample()[INSTANCE].pushes
    assert push.shape.families[0].labels == ((("x", "2"),),)


def test_times_are_kept_to_the_nanosecond():
    group = sample()[BATCH]
    assert (group.pushed_at, group.failed_at) == (1795339421960965096, 0)
    assert [time for _, time in group.pushes] == [group.pushed_at]
    assert group.pushed_at / 1e9 == 1.7953394219609652e09


def test_a_group_that_only_failed_has_no_push_time():
    group = sample()[BAD]
    assert group.pushes == ()
    assert (group.pushed_at, group.failed_at) == (0, 1795339421971066352)
    assert group.failed_at > group.pushed_at


def test_a_file_that_was_cut_off_is_refused():
    for length in range(0, len(SAMPLE), 97):
        with pytest.raises(ValueError, match="ends early"):
            read(SAMPLE[:length])


@given(st.binary())
def test_any_bytes_are_read_or_refused(data):
    with suppress(ValueError):
        read(data)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=4),
    st.integers(0, len(SAMPLE)),
)
def test_a_damaged_file_is_read_or_refused(changes, start):
    data = bytearray(SAMPLE)
    for at, byte in changes:
        data[at] = byte
    with suppress(ValueError):
        read(bytes(data))
    with suppress(ValueError):
        read(bytes(data[:start] + data[start + 1 :]))

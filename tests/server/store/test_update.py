"""PATCH: the pushed series replace the stored ones, and all other series stay."""

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import LimitExceeded
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.change import Replace, Update
from pushgate.server.store.store import Store
from tests.server.pushes import change, key, post, pushed, put, refusal

HISTOGRAM = '# TYPE h histogram\nh_bucket{{{0}le="1"}} {1}\nh_sum{{{2}}} {1}\nh_count{{{2}}} {1}\n'


def patch(group, body: str, time: int = 1) -> Update:
    return Update(group, pushed(body), time)


def series(store: Store, group) -> dict[str, dict]:
    """Return for each family of *group* its type, and the numbers of each metric by labels."""
    found = {}
    for block in store.get(group).blocks:
        tokens = block.pushed.numbers.split()
        for family in block.families():
            start = block.pushed.shape.starts[block.pushed.shape.names.index(family.name)]
            numbers = [
                b" ".join(tokens[start + at.start : start + at.stop])
                for at in family.metric_slots()
            ]
            found[family.name] = (
                (family.type.word, family.help),
                dict(zip(family.labels, numbers, strict=True)),
            )
    return found


def values(store: Store, group=None) -> dict:
    """Return the numbers of *group* by family name and label values."""
    return {
        (name, *(value for _, value in labels)): number.decode()
        for name, (_, metrics) in series(store, group or key()).items()
        for labels, number in metrics.items()
    }


def test_the_pushed_series_are_replaced_and_all_others_stay():
    store = Store()
    change(store, put(key(), 'a{l="1"} 1\na{l="2"} 2\nb 3\n'))
    change(store, patch(key(), 'a{l="2"} 20\na{l="3"} 30\nc 4\n', 2))
    expected = {("a", "1"): "1", ("a", "2"): "20", ("a", "3"): "30", ("b",): "3", ("c",): "4"}
    assert values(store) == expected
    assert store.series == 5
    assert store.get(key()).pushed_at == 2


def test_a_group_that_was_not_there_holds_what_was_pushed():
    store = Store()
    change(store, patch(key(), "a 1\n"))
    assert values(store) == {("a",): "1"}


def test_a_histogram_is_replaced_as_a_whole_with_its_buckets():
    store = Store()
    change(store, put(key(), HISTOGRAM.format('l="1",', 1, 'l="1"')))
    other = HISTOGRAM.format('l="2",', 2, 'l="2"') + 'h_bucket{l="1",le="5"} 7\n'
    change(store, patch(key(), other + 'h_count{l="1"} 7\n'))
    (_, metrics) = series(store, key())["h"]
    assert metrics[("l", "1"),].split()[::2] == [b"7", b"7"]  # and the old bucket is gone
    assert metrics[("l", "2"),] == b"2 2 2"


def test_the_help_stays_unless_another_is_pushed():
    store = Store()
    change(store, put(key(), "# HELP a First.\n# TYPE a gauge\na 1\n"))
    change(store, patch(key(), "# TYPE a gauge\na 2\n"))
    assert series(store, key())["a"][0] == ("gauge", "First.")
    change(store, patch(key(), "# HELP a Second.\n# TYPE a gauge\na 2\n"))
    assert series(store, key())["a"][0] == ("gauge", "Second.")


@pytest.mark.parametrize(
    "body", ['a{job="other",l="1"} 5\n', 'a{l="1",instance=""} 5\n', 'a{zone="x",l="1"} 5\n']
)
def test_labels_of_the_group_and_an_empty_instance_do_not_make_another_series(body):
    store, group = Store(), key(zone="z")
    change(store, put(group, 'a{l="1"} 1\na{l="2"} 2\n'))
    change(store, patch(group, body))
    assert sorted(values(store, group).values()) == ["2", "5"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("# TYPE a counter\na 1\n", 'metric "a" can\'t be added to what is stored: it is stored'),
        ("a 1\na 1\n", "was collected before"),
        ('a{__x="1"} 1\n', "has a label with an invalid name"),
        ("a 1 1000\n", "must not have timestamps"),
        ("# TYPE b counter\nb 1\n", "is not a UNTYPED"),
    ],
)
def test_what_put_and_post_refuse_is_refused_and_remembered(body, said):
    store = Store()
    change(store, put(key(), "# TYPE a gauge\na 1\n"))
    change(store, put(key("other"), "b 1\n"))
    error = refusal(store, patch(key(), body, 5))
    assert error is not None
    assert said in str(error)
    assert values(store) == {("a",): "1"}
    assert store.get(key()).failed_at == 5


def test_a_family_may_grow_beyond_what_one_push_may_have():
    store = Store(bounds=Bounds(series_per_push=2))
    for number in range(5):
        change(store, patch(key(), f'a{{l="{number}"}} 1\n'))
    assert len(values(store)) == 5
    with pytest.raises(LimitExceeded):
        change(store, patch(key(), "b 1\nc 1\nd 1\n"))


def test_the_limit_of_all_series_counts_only_new_ones():
    store = Store(bounds=Bounds(series=2))
    change(store, put(key(), 'a{l="1"} 1\na{l="2"} 2\n'))
    change(store, patch(key(), 'a{l="2"} 3\n'))
    with pytest.raises(LimitExceeded):
        change(store, patch(key(), 'a{l="3"} 3\n'))
    assert values(store) == {("a", "1"): "1", ("a", "2"): "3"}


NAMES, LABELS = st.sampled_from("abc"), st.sampled_from(["", "1", "2", "3"])
BODIES = st.dictionaries(st.tuples(NAMES, LABELS), st.integers(0, 9), max_size=5)
VERBS = st.sampled_from(["put", "post", "patch", "patch"])


def written(content: dict) -> str:
    lines = [
        f'{name}{{l="{label}"}} {n}\n' if label else f"{name} {n}\n"
        for (name, label), n in sorted(content.items())
    ]
    return "".join(lines)


@given(st.lists(st.tuples(VERBS, st.sampled_from(["j", "k"]), BODIES), max_size=8))
def test_any_sequence_of_pushes_leaves_what_a_dictionary_of_series_would(pushes):
    store, twin = Store(), {}
    for time, (verb, job, body) in enumerate(pushes, 1):
        make = {"put": put, "post": post, "patch": patch}[verb]
        change(store, make(key(job), written(body), time))
        held = twin.get(job, {})
        names = {name for name, _ in body}
        if verb == "put":
            held = {}
        elif verb == "post":
            held = {at: n for at, n in held.items() if at[0] not in names}
        twin[job] = held | body
    for job, held in twin.items():
        expected = {(name, *filter(None, [label])): str(n) for (name, label), n in held.items()}
        assert values(store, key(job)) == expected
    assert store.series == sum(map(len, twin.values()))
    for group in [*store.groups()]:  # and the index has counted all of it in, and out again
        change(store, Replace(group.key, pushed(""), 99))
    assert store.series == 0

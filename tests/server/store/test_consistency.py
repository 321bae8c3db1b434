"""The consistency check gives the verdicts of the reference, which gathers everything anew."""

from contextlib import contextmanager, nullcontext
from itertools import product

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import InconsistentPush
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import Pushed, WrongType, interned
from pushgate.model.slices import finished
from pushgate.server.store import group as group_module
from pushgate.server.store.change import Delete, Fail, Merge, Replace
from pushgate.server.store.consistency import OwnFamily
from pushgate.server.store.store import Store
from tests.server.pushes import change, content, key, post, pushed, put, refusal, wipe

GOROUTINES = OwnFamily(MetricType.GAUGE, "Number of goroutines.", predefined=True)
GC = OwnFamily(MetricType.SUMMARY, "Pauses.", predefined=True)
REQUESTS = OwnFamily(MetricType.COUNTER, "Requests.", predefined=False)
OWN = {"o_threads": GOROUTINES, "o_gc": GC, "o_requests": REQUESTS}
DUPLICATE = "was collected before with the same name and label values"
J = 'label:{name:"instance" value:""} label:{name:"job" value:"j"}'


def store_with(*changes) -> Store:
    store = Store(OWN.get)
    for one in changes:
        change(store, one)
    return store


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("a 1\na 2\n", f'collected metric "a" {{ {J} untyped:{{value:2}}}} {DUPLICATE}'),
        (
            'a{__x="foo"} 1\n',
            (
                'collected metric "a" { label:{name:"__x" value:"foo"} '
                f"{J} untyped:{{value:1}}}} has a label with an invalid name: __x"
            ),
        ),
        (
            "a 1\na 2\nb 1\nb 2\n",
            (
                "2 error(s) occurred:"
                f'\n* collected metric "a" {{ {J} untyped:{{value:2}}}} {DUPLICATE}'
                f'\n* collected metric "b" {{ {J} untyped:{{value:2}}}} {DUPLICATE}'
            ),
        ),
        (
            (
                "# TYPE s summary\ns_count 3\ns_sum 2\n"
                's{quantile="0.5"} 1\ns{job="x",quantile="NaN"} 1\n'
            ),
            f'collected metric "s" {{ {J} summary:{{sample_count:0 sample_sum:0}}}} {DUPLICATE}',
        ),
        (
            'a 1\na{instance=""} 2\n',
            f'collected metric "a" {{ {J} untyped:{{value:2}}}} {DUPLICATE}',
        ),
        (
            "o_threads 5\n",
            "gathered metric family o_threads has type UNTYPED but should have GAUGE",
        ),
        (
            "o_gc_sum 1\n",
            (
                'collected metric named "o_gc_sum" collides with previously collected summary '
                'named "o_gc"'
            ),
        ),
        (
            "# TYPE o_requests counter\no_requests 9\n",
            'gathered metric family o_requests has help "" but should have "Requests."',
        ),
    ],
)
def test_a_push_that_is_wrong_whatever_is_stored(body, error):
    assert str(refusal(store_with(), put(key(), body))) == error


@pytest.mark.parametrize(
    "body",
    [
        "# TYPE o_threads gauge\n# HELP o_threads other\no_threads 5\n",
        "# TYPE o_requests counter\n# HELP o_requests Requests.\no_requests 9\n",
        "o_gc_bucket 1\n",
        'a{x=""} 1\na 2\n',
        '# TYPE h histogram\nh_bucket{le="2"} 1\nh_bucket{le="1"} 5\n',
    ],
)
def test_a_push_that_is_consistent(body):
    assert refusal(store_with(), put(key(), body)) is None


@pytest.mark.parametrize(
    ("stored", "body", "error"),
    [
        (
            "# TYPE m gauge\nm 1\n",
            "m 3\n",
            f'collected metric "m" {{ {J} untyped:{{value:3}}}} is not a GAUGE',
        ),
        (
            "# TYPE s summary\ns 1\n",
            "s_sum 1\n",
            'collected metric named "s_sum" collides with previously collected summary named "s"',
        ),
        ("# TYPE s summary\ns 1\n", "s_bucket 1\ns_total 1\n", None),
        (
            "# TYPE h histogram\nh 1\n",
            "h_bucket 1\n",
            (
                'collected metric named "h_bucket" collides with previously collected histogram '
                'named "h"'
            ),
        ),
        (
            "h_bucket 1\n",
            "# TYPE h histogram\nh 1\n",
            (
                'collected histogram named "h" collides with previously collected metric '
                'named "h_bucket"'
            ),
        ),
        (
            "s_count 1\n",
            "# TYPE s summary\ns 1\n",
            (
                'collected histogram or summary named "s" collides with previously collected '
                'metric named "s_count"'
            ),
        ),
        ("h_bucket 1\n", "# TYPE h summary\nh 1\n", None),
        ("h_bucket 1\n", "# TYPE h gaugehistogram\nh_sum 1\n", None),
        ("# TYPE h gaugehistogram\nh_sum 1\n", "h_bucket 1\n", None),
        ("# HELP m one\nm 1\n", "# HELP m other\nm 1\n", None),
        ("# TYPE h histogram\nh_sum 1\n", "# TYPE h gaugehistogram\nh_sum 1\n", None),
        ("# TYPE h gaugehistogram\nh_sum 1\n", "# TYPE h histogram\nh_sum 1\n", None),
    ],
)
def test_a_push_beside_what_another_group_holds(stored, body, error):
    store = store_with(put(key("other"), stored))
    found = refusal(store, put(key(), body))
    assert (found and str(found)) == error
    if found:
        assert '{job="other"}' in found.advice[0]
        change(store, Delete(key("other")))
        assert refusal(store, put(key(), body)) is None


@pytest.mark.parametrize(
    ("stored", "body"),
    [("# TYPE m gauge\nm 1\n", "m 1\n"), ("m_sum 1\n", "# TYPE m summary\nm 1\n")],
)
def test_a_group_may_change_the_type_of_what_it_alone_holds(stored, body):
    store = store_with(put(key(), stored))
    assert refusal(store, put(key(), body)) is None


def test_a_series_of_another_group_of_the_job():
    store = store_with(put(key("a", instance="x"), "m 1\n"))
    complete = 'label:{name:"instance" value:"x"} label:{name:"job" value:"a"}'
    assert str(refusal(store, put(key("a"), 'm{instance="x"} 2\n'))) == (
        f'collected metric "m" {{ {complete} untyped:{{value:2}}}} {DUPLICATE}'
    )
    assert refusal(store, put(key("a"), 'm{instance="x",l=""} 2\n')) is None


def test_a_series_stays_with_its_group_when_a_push_that_replaced_it_is_withdrawn():
    """The group holds many families in one block, and has replaced some of them before."""
    many = "".join(f'm{number}{{x="1"}} 1\n' for number in range(300))
    store = store_with(put(key(), many), put(key(y="1"), "m 1\n"), post(key(), 'm0{x="1"} 2\n'))
    steps = store.admit(post(key(), 'm1{x="1"} 2\n'))
    finished(store.withdrawal(reversed(steps)))
    assert DUPLICATE in str(refusal(store, put(key(x="1"), "m1 1\n")))


@pytest.mark.parametrize(("first", "second"), list(product([{}, {"instance": ""}], repeat=2))[1:3])
def test_no_instance_and_an_empty_one_are_the_same_group(first, second):
    store = store_with(put(key("a", **first), ""))
    error = refusal(store, put(key("a", **second), "m 1\n"))
    assert str(error).startswith("2 error(s) occurred:\n* collected metric ")
    assert str(error).count("push_failure_time_seconds") == 1
    assert "Push to that group" in error.advice[0]
    assert len(store) == 1


def test_a_metric_without_the_value_of_its_type():
    wrong_type = pushed("m 1\n")._replace(wrong_types=(WrongType(0, 0, "gauge:{value:7}"),))
    error = f'collected metric "m" {{ {J} gauge:{{value:7}}}} is not a UNTYPED'
    store = store_with(put(key("other"), "m 1\n"), put(key(), "m 1\n"))
    for kind in (Replace, Merge):
        assert str(refusal(store, kind(key(), wrong_type, 1))) == error


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=10))
def test_a_metric_is_a_duplicate_only_of_one_that_has_the_value_of_its_type(metrics):
    body = "".join(f'm{{l="{value}"}} 1\n' for value, _ in metrics)
    wrong = [at for at, (_, is_wrong) in enumerate(metrics) if is_wrong]
    push = pushed(body)._replace(wrong_types=tuple(WrongType(0, at, "gauge:{}") for at in wrong))
    duplicates = [
        at
        for at, (value, is_wrong) in enumerate(metrics)
        if not is_wrong and (value, False) in metrics[:at]
    ]
    found = str(refusal(store_with(), Replace(key(), push, 1)) or "")
    assert found.count("is not a UNTYPED") == len(wrong)
    assert found.count(DUPLICATE) == len(duplicates)


def test_a_misfit_beside_a_pushed_push_time():
    both = pushed("push_time_seconds 1\nm 1\n")._replace(
        wrong_types=(WrongType(1, 0, "gauge:{value:7}"),)
    )
    assert "is not a UNTYPED" in str(refusal(store_with(), Replace(key(), both, 1)))


SUMMARY = '# TYPE s summary\ns{quantile="0.5"} 1\ns_sum 1\ns_count 1\n'
HISTOGRAM = '# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n'


@pytest.mark.parametrize("value", ["0.5", ""])
@pytest.mark.parametrize(
    ("label", "body"),
    [
        ("quantile", SUMMARY),
        ("quantile", "# TYPE s summary\ns_sum 1\ns_count 1\n"),
        ("le", HISTOGRAM),
        ("le", HISTOGRAM.replace("histogram", "gaugehistogram")),
    ],
)
def test_a_group_may_not_have_the_label_that_an_exposition_adds(label, value, body):
    poisoned = key("j", **{label: value})
    message = f'must not have an explicit "{label}" label'
    known = store_with(put(key("j"), body), put(poisoned, "m 1\n"))
    for store in (store_with(), known):
        assert message in str(refusal(store, put(poisoned, body)))
        assert message in str(refusal(store, post(poisoned, body)))


def test_both_families_that_contradict_the_store_are_named_with_who_holds_them():
    store = store_with(put(key("a"), "# TYPE m gauge\nm 1\n"), put(key("b"), "n 1\n"))
    error = refusal(store, put(key(), "m 1\n# TYPE n counter\nn 1\n"))
    assert '"m"' in str(error)
    assert '"n"' in str(error)
    assert [line.partition(". ")[0] for line in error.advice] == [
        'm is a gauge in the group {job="a"}',
        'n is a untyped in the group {job="b"}',
    ]


def test_the_first_few_faults_are_named_and_all_are_counted():
    error = str(refusal(store_with(), put(key(), "m 1\n" * 1000)))
    lines = error.split("\n* ")
    assert lines[0] == "999 error(s) occurred:"
    assert lines[-1] == "and 989 more"
    assert len(lines) == 12


def test_a_long_fault_is_cut():
    value = "x" * 100_000
    assert len(str(refusal(store_with(), put(key(), f'm{{l="{value}"}} 1\n' * 2)))) < 3000


def test_a_family_without_metrics_claims_nothing():
    empty = interned((FamilyShape("m", MetricType.GAUGE, None, ()),))
    store = store_with(put(key("a"), "m 1\n"), Replace(key("b"), Pushed(empty, b""), 1))
    change(store, Delete(key("a")))
    assert refusal(store, put(key("c"), "# TYPE m counter\nm 1\n")) is None
    change(store, wipe)
    assert is_empty(store)


def test_a_family_without_metrics_releases_nothing():
    empty = interned((FamilyShape("m", MetricType.GAUGE, None, ()),))
    store = store_with(put(key("a"), "m 1\n"), Replace(key("b"), Pushed(empty, b""), 1))
    assert "is not a UNTYPED" in str(refusal(store, put(key("b"), "# TYPE m counter\nm 1\n")))


def is_empty(store: Store) -> bool:
    index = store._index
    claims = any(index._claims.values())
    return not (claims or index._label_schemas or index._jobs or index.series or store._admitted)


# The slow twin: everything is gathered anew for each push, as the reference does it.

TIMES = {"push_time_seconds", "push_failure_time_seconds"}
HISTOGRAMS = {MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM}
OWN_LABELS = {MetricType.SUMMARY: "quantile", **dict.fromkeys(HISTOGRAMS, "le")}
SUFFIXES = {
    MetricType.SUMMARY: ("_count", "_sum"),
    MetricType.HISTOGRAM: ("_count", "_sum", "_bucket"),
}


def complete(group: GroupingKey, labels) -> tuple:
    return tuple(sorted(({"instance": ""} | dict(labels) | dict(group.labels)).items()))


def gathering_fails(groups: dict, first: GroupingKey) -> bool:
    """Return whether gathering *groups* reports an error; group *first* sets types and help."""
    families, series = {}, set()
    for group in sorted(groups, key=lambda group: (group != first, group)):
        times = {(name, complete(group, ())) for name in TIMES}
        if series & times:
            return True
        series |= times
        for family in groups[group].values():
            known = families.setdefault(family.name, family)
            if known.type is not family.type and {known.type, family.type} != HISTOGRAMS:
                return True
            if family.type is MetricType.HISTOGRAM:
                families[family.name] = family
            for labels in family.labels:
                one = (family.name, complete(group, labels))
                if one in series or any(name.startswith("__") for name, _ in one[1]):
                    return True
                if OWN_LABELS.get(family.type) in dict(one[1]):
                    return True
                series.add(one)
    return any(map(own_mismatch, families.values())) or collides(families)


def own_mismatch(family: FamilyShape) -> bool:
    own = OWN.get(family.name)
    if own is None:
        return False
    return own.type is not family.type or not (own.predefined or family.help == own.help)


def collides(families: dict) -> bool:
    known = {name: own.type for name, own in OWN.items()}
    known |= {name: family.type for name, family in families.items()}
    return any(
        name + suffix in known and not {name, name + suffix} <= OWN.keys()
        for name, kind in known.items()
        for suffix in SUFFIXES.get(kind, ())
    )


class SlowStore:
    """Groups as dicts of families."""

    def __init__(self) -> None:
        self.groups: dict[GroupingKey, dict[str, FamilyShape]] = {}

    def accepts(self, one) -> bool:
        """Take *one*; return whether it was consistent."""
        if isinstance(one, Delete):
            self.groups = {key: kept for key, kept in self.groups.items() if key != one.key}
        else:
            return self._accepts_push(one)
        return True

    def _accepts_push(self, one) -> bool:
        old = self.groups.get(one.key, {}) if isinstance(one, Merge) else {}
        new = {family.name: family for family in one.pushed.shape.families}
        families = {name: old.get(name) or new[name] for name in (old | new).keys() - TIMES}
        families |= {name: family for name, family in new.items() if name not in TIMES}
        after = self.groups | {one.key: families}
        if not gathering_fails(after, one.key):
            self.groups = after
            return True
        failed = {one.key: {}} | self.groups
        if not gathering_fails(failed, one.key):
            self.groups = failed
        return False


KEYS = [key("a"), key("a", instance=""), key("a", instance="x"), key("a", l="1")]
KEYS += [key("a", instance="x", l="1"), key("b"), key("b", l="x")]
KEYS += [key("a", quantile=""), key("b", le="1")]
NAMES = ["m", "m_sum", "m_count", "m_bucket", "o_threads", "o_gc_sum", "o_requests", *TIMES]
LABELS = [(), (("instance", "x"),), (("l", "1"),), (("instance", "x"), ("l", "1")), (("__x", ""),)]
LABELS += [
    (("le", "1"),),
    (("job", "b"),),
    (("quantile", "1"),),
    (("l", "x"),),
    (("instance", ""),),
]


def family_shape(name, kind, said, labels) -> FamilyShape:
    bounds = () if kind.is_simple else ((),) * len(labels)
    return FamilyShape(name, kind, said, tuple(labels), bounds)


def as_pushed(families) -> Pushed:
    shape = interned(tuple({family.name: family for family in families}.values()))
    return Pushed(shape, b" ".join([b"1"] * shape.series))


groups = st.sampled_from(KEYS)
family_shapes = st.builds(
    family_shape,
    st.sampled_from(NAMES[:4]) | st.sampled_from(NAMES),
    st.sampled_from(MetricType),
    st.sampled_from([None, "Requests."]),
    st.lists(st.sampled_from(LABELS[:4]) | st.sampled_from(LABELS), min_size=1, max_size=2),
)
contents = st.lists(family_shapes, max_size=4).map(as_pushed)
changes = st.one_of(
    st.builds(Replace, groups, contents, st.just(1)),
    st.builds(Merge, groups, contents, st.just(1)),
    st.builds(Merge, groups, contents, st.just(1)),
    st.builds(Delete, groups),
)
batches = st.lists(st.tuples(st.lists(changes, min_size=1, max_size=4), st.booleans()), max_size=6)


@given(batches, st.booleans(), st.booleans())
def test_verdicts_are_those_of_gathering_everything_anew(batches, are_large, are_few):
    with large_blocks() if are_large else nullcontext(), blocks(2 if are_few else 128):
        compare(batches)


@contextmanager
def large_blocks():
    """Blocks of any size only note which of their families were replaced."""
    before, group_module._LARGE = group_module._LARGE, 1
    try:
        yield
    finally:
        group_module._LARGE = before


@contextmanager
def blocks(most: int):
    """Groups with more blocks than *most* have the smaller ones joined."""
    before, group_module.MAX_BLOCKS = group_module.MAX_BLOCKS, most
    try:
        yield
    finally:
        group_module.MAX_BLOCKS = before


def compare(batches):
    store, slow = Store(OWN.get), SlowStore()
    for batch, is_durable in batches:
        before, steps = slow.groups, []
        for one in batch:
            try:
                steps += store.admit(one)
            except InconsistentPush:
                assert not slow.accepts(one)
                steps += store.admit(Fail(one.key, 1))
            else:
                assert slow.accepts(one)
        if is_durable:
            store.apply(steps)
        else:
            finished(store.withdrawal(reversed(steps)))
            slow.groups = before
    assert [group.key for group in store.groups()] == sorted(slow.groups)
    for group, families in slow.groups.items():
        assert content(store.get(group)).keys() == families.keys()
    change(store, wipe)
    assert is_empty(store)


def test_a_group_whose_labels_escaping_makes_one_is_refused_with_an_empty_body_too():
    store = Store()
    error = refusal(store, put(key(**{"l.x": "", "l_x": ""}), ""))
    assert str(error).endswith('has labels that escaping makes one: "l.x" and "l_x"')
    assert len(store) == 0

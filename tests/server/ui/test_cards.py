import asyncio

import pytest
from hypothesis import example, given, strategies as st

from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import decode
from pushgate.formats.protobuf.wire import append_delimited
from pushgate.model.family import MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.server.http.push_path import grouping_key
from pushgate.server.http.stream import in_steps
from pushgate.server.settings import Settings
from pushgate.server.store.group import Block, Group
from pushgate.server.ui.cards import (
    FamilyCard,
    delete_path,
    family_cards,
    group_card,
    group_id,
    key_of,
    plain,
)
from tests.server.pushes import key, pushed

LEGACY = Settings()
UTF8 = Settings(push_enable_utf8_names=True)
SECOND = 10**9
NOW = 1_800_000_000 * SECOND
TIMES = {"push_time_seconds", "push_failure_time_seconds"}


def group(of: GroupingKey, body: str = "", *, pushed_at: int = NOW, failed_at: int = 0) -> Group:
    blocks = (Block(pushed(body), NOW),) if body else ()
    return Group(of, blocks, pushed_at=pushed_at, failed_at=failed_at, since=1)


def rows(body: str, max_rows: int | None = None) -> dict[str, list]:
    """The rows of each family of a group with *body*, without the push times."""
    found = cards(group(key(instance="i"), body), max_rows)
    return {card.name: list(card.rows) for card in found if card.name not in TIMES}


def cards(group: Group, max_rows: int | None = None) -> list[FamilyCard]:
    work = family_cards(group, LEGACY, max_rows=max_rows)
    return list(asyncio.run(in_steps(work)))


@pytest.mark.parametrize(
    ("labels", "path"),
    [
        ({"job": "foo"}, "metrics/job@base64/Zm9v"),
        ({"job": "a/b", "x": "y"}, "metrics/job@base64/YS9i/x@base64/eQ=="),
        ({"job": "j", "a": "1", "zz": ""}, "metrics/job@base64/ag==/a@base64/MQ==/zz@base64/="),
        ({"job": "ÿ?>"}, "metrics/job@base64/w78_Pg=="),
    ],
)
def test_a_group_is_deleted_by_the_path_that_names_it(labels, path):
    assert delete_path(GroupingKey(labels.items()), LEGACY) == path


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("foo.bar", "U__foo_2e_bar"),
        ("a/b@base64", "U__a_2f_b_40_base64"),
        ("U__foo_2e_bar", "U__U____foo__2e__bar"),
        ("😊", "U___1f60a_"),
    ],
)
def test_names_that_a_path_cannot_carry_are_escaped(name, written):
    path = delete_path(GroupingKey({"job": "j", name: "v"}.items()), UTF8)
    assert path == f"metrics/job@base64/ag==/{written}@base64/dg=="


UTF8_TEXT = st.text(st.characters(codec="utf-8"))
NAMES = UTF8_TEXT.filter(lambda name: name and not name.startswith("__") and name != "job")


@given(st.dictionaries(NAMES, UTF8_TEXT), UTF8_TEXT.filter(bool), st.booleans())
@example({"U__\U0010ffff": "x"}, "j", True)
@example({"U__a_": "x"}, "j", True)
def test_a_delete_path_names_its_group_or_is_not_there(labels, job, utf8):
    settings = Settings(push_enable_utf8_names=utf8, web_route_prefix="/pre/fix")
    this = GroupingKey({**labels, "job": job}.items())
    path = delete_path(this, settings)
    assert not path or grouping_key(f"/pre/fix/{path}".encode(), settings) == this


@given(st.dictionaries(NAMES, UTF8_TEXT))
def test_the_id_of_a_group_says_which_it_is(labels):
    this = GroupingKey({"job": "j", **labels}.items())
    assert key_of(group_id(this)) == this


@given(st.text())
@example("")
@example("ag")
@example("a")
def test_any_other_text_is_the_id_of_no_group(text):
    found = key_of(text)
    assert found is None or isinstance(found, GroupingKey)


def test_the_job_comes_first_then_the_others_by_name():
    card = group_card(group(key("backup", instance="db", a="1")), LEGACY, NOW)
    assert [tuple(badge) for badge in card.badges] == [
        ("job", "backup", "job"),
        ("a", "1", "other"),
        ("instance", "db", "instance"),
    ]


def test_names_are_quoted_if_the_flags_do_not_allow_them():
    this = group(GroupingKey({"job": "j", "foo.bar": "1"}.items()))
    assert [badge.name for badge in group_card(this, LEGACY, NOW).badges] == ["job", '"foo.bar"']
    assert [badge.name for badge in group_card(this, UTF8, NOW).badges] == ["job", "foo.bar"]


@pytest.mark.parametrize(
    ("seconds", "ago"),
    [
        (-5, "0 s ago"),
        (0, "0 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (300_000, "3 d ago"),
    ],
)
def test_says_how_long_ago_the_last_push_was(seconds, ago):
    card = group_card(group(key(), pushed_at=NOW - seconds * SECOND), LEGACY, NOW)
    assert card.pushed.ago == ago


def test_a_failure_shows_until_a_push_succeeds():
    never = group_card(group(key(), pushed_at=0, failed_at=NOW), LEGACY, NOW)
    failed = group_card(group(key(), pushed_at=NOW - 1, failed_at=NOW), LEGACY, NOW)
    well = group_card(group(key(), pushed_at=NOW, failed_at=NOW - 1), LEGACY, NOW)
    assert (never.pushed, bool(never.failed)) == (None, True)
    assert (bool(failed.pushed), bool(failed.failed)) == (True, True)
    assert (bool(well.pushed), well.failed) == (True, None)


def test_families_come_by_name_with_those_of_the_push_times():
    found = cards(group(key(), "z 1\n# HELP a Eh.\n# TYPE a gauge\na 2\n"))
    assert [(card.name, card.type, card.help) for card in found if card.name not in TIMES] == [
        ("a", "GAUGE", "Eh."),
        ("z", "UNTYPED", ""),
    ]
    assert [card.name for card in found] == sorted(["a", "z", *TIMES])


def test_a_metrics_own_labels_come_before_those_of_its_group():
    [row] = rows('m{z="1",instance="overruled",a=""} 1\n')["m"]
    assert [tuple(badge) for badge in row.badges] == [
        ("a", "", "own"),
        ("z", "1", "own"),
        ("instance", "i", "grouping"),
        ("job", "j", "grouping"),
    ]


@pytest.mark.parametrize(
    ("canonical", "shown"),
    [
        ("1e+06", "1000000"),
        ("1.2345e-05", "0.000012345"),
        ("-1.5e+300", "-15" + 299 * "0"),
        ("0.25", "0.25"),
        ("-0", "-0"),
        ("NaN", "NaN"),
        ("-Inf", "-Inf"),
    ],
)
def test_numbers_have_no_exponent(canonical, shown):
    assert plain(canonical) == shown


def test_a_summary_shows_quantiles_count_and_sum():
    body = '# TYPE s summary\ns{quantile="0.5"} 1e6\ns{quantile="0.9"} NaN\ns_sum 3\ns_count 7e6\n'
    [row] = rows(body)["s"]
    assert list(row.points) == [
        ("Quantile 0.5", "1000000"),
        ("Quantile 0.9", "NaN"),
        ("Sample Count", "7000000"),
        ("Sample Sum", "3"),
    ]


def test_a_classic_histogram_shows_its_real_counts_floats_too():
    body = '# TYPE h histogram\nh_bucket{le="1e6"} 1.5\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n'
    [row] = rows(body)["h"]
    assert list(row.points) == [
        ("Sample values ≤ 1000000", "1.5"),
        ("Sample values ≤ +Inf", "2"),
        ("Total sample Count", "2"),
        ("Sample Sum", "3"),
    ]


def native_rows(**histogram) -> list:
    """The rows of a family that holds one native histogram, pushed as protobuf."""
    family = message_class("MetricFamily")(name=b"h", type=MetricType.HISTOGRAM)
    family.metric.add(histogram=histogram)
    body = bytearray()
    append_delimited(body, family.SerializeToString())
    blocks = (Block(decode(bytes(body)), NOW),)
    one = Group(key(), blocks, pushed_at=NOW, failed_at=0, since=1)
    [card] = [card for card in cards(one) if card.name == "h"]
    return list(card.rows)


def test_a_native_histogram_is_one_line():
    [row] = native_rows(
        sample_count=23,
        sample_sum=9.5,
        zero_count=3,
        zero_threshold=0.001,
        positive_span=[{"offset": -1, "length": 2}, {"offset": 2, "length": 1}],
        positive_delta=[1, 2, 3],
        negative_span=[{"offset": 1, "length": 1}],
        negative_delta=[10],
    )
    assert row.native == (
        "{count:23, sum:9.5, [-2,-1):10, [-0.001,0.001]:3, (0.25,0.5]:1, (0.5,1]:3, (4,8]:6}"
    )
    assert row.points is None


def test_a_native_histogram_of_floats_shows_its_classic_buckets_too():
    [row] = native_rows(
        sample_count_float=4.5,
        sample_sum=1e6,
        schema=3,
        positive_span=[{"offset": 0, "length": 1}],
        positive_count=[4.5],
        bucket=[{"upper_bound": 1e6, "cumulative_count_float": 1.5}],
    )
    assert row.native == "{count:4.5, sum:1e+06, (0.9170040432046711,1]:4.5}"
    assert list(row.points) == [("Sample values ≤ 1000000", "1.5")]


def test_of_a_large_family_only_some_metrics_are_shown():
    body = "".join(f'm{{i="{i}"}} {i}\n' for i in range(5))
    one = group(key(), body)
    some = next(c for c in cards(one, 2) if c.name == "m")
    everything = next(c for c in cards(one) if c.name == "m")
    assert (len(list(some.rows)), some.more) == (2, 3)
    assert (len(list(everything.rows)), everything.more) == (5, 0)

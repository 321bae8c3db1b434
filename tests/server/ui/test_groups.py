import pytest
from hypothesis import example, given, strategies as st

from pushgate.model.grouping import GroupingKey
from pushgate.server.settings import Settings
from pushgate.server.store.group import Attempt, Block, Group
from pushgate.server.store.rules import Rule
from pushgate.server.store.selector import parse_selector
from pushgate.server.ui.groups import (
    chips,
    group_id,
    group_row,
    history,
    key_of,
    rhythm,
    selector,
    snippets,
    strip,
)
from pushgate.server.ui.search import State
from tests.server.pushes import key, pushed

LEGACY = Settings()
UTF8 = Settings(push_enable_utf8_names=True)
SECOND = 10**9
NOW = 1_800_000_000 * SECOND


NO_RULE = Rule()


def group(of: GroupingKey, body: str = "", *, pushed_at: int = NOW, failed_at: int = 0) -> Group:
    blocks = (Block(pushed(body), NOW),) if body else ()
    return Group(of, blocks, pushed_at=pushed_at, failed_at=failed_at, since=1)


UTF8_TEXT = st.text(st.characters(codec="utf-8"))
NAMES = UTF8_TEXT.filter(lambda name: name and not name.startswith("__") and name != "job")


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


def row(of: Group, rule: Rule = NO_RULE, most: int = 0):
    return group_row(of, rule, LEGACY, NOW, may_delete=True, most=most)


def test_the_labels_come_by_name_and_the_job_apart():
    shown = row(group(key("backup", instance="db", a="1")))
    assert [(chip.name, chip.value) for chip in shown.chips] == [("a", "1"), ("instance", "db")]


def test_names_are_quoted_if_the_flags_do_not_allow_them():
    this = GroupingKey({"job": "j", "foo.bar": "1"}.items())
    assert [chip.name for chip in chips(this, LEGACY, most=0)] == ['"foo.bar"']
    assert [chip.name for chip in chips(this, UTF8, most=0)] == ["foo.bar"]


def test_long_values_are_shortened_in_the_list_only():
    long = group(key(path="x" * 10_000))
    [chip] = row(long, most=80).chips
    assert (len(chip.value), "10,000 characters" in chip.full) == (81, True)
    [chip] = row(long).chips
    assert (len(chip.value), chip.full) == (10_000, "")


def test_a_failure_shows_until_a_push_succeeds():
    never = row(group(key(), pushed_at=0, failed_at=NOW))
    failed = row(group(key(), pushed_at=NOW - 1, failed_at=NOW))
    well = row(group(key(), pushed_at=NOW, failed_at=NOW - 1))
    assert (never.pushed, bool(never.failed), never.state) == (None, True, State.FAILED)
    assert (bool(failed.pushed), bool(failed.failed), failed.state) == (True, True, State.FAILED)
    assert (bool(well.pushed), well.failed, well.state) == (True, None, State.OK)


@pytest.mark.parametrize(
    ("body", "age", "rule", "state", "expected"),
    [
        ("m 1\n", 100, Rule(), State.OK, ""),
        ("m 1\n", 89, Rule(expect_every=60 * SECOND), State.OK, "every 1 min"),
        ("m 1\n", 91, Rule(expect_every=60 * SECOND), State.LATE, "every 1 min"),
        ("", 3600, Rule(ttl=3600 * SECOND), State.EXPIRED, "expired after 1 h"),
        ("", 3599, Rule(ttl=3600 * SECOND), State.OK, ""),
        ("", 3600, Rule(), State.OK, ""),
    ],
)
def test_a_group_is_late_or_expired_by_its_rule(body, age, rule, state, expected):
    shown = row(group(key(), body, pushed_at=NOW - age * SECOND), rule)
    assert (shown.state, shown.expected) == (state, expected)


def attempts(*seconds: int, failed: tuple[int, ...] = ()) -> list[Attempt]:
    return [Attempt(s * SECOND, s not in failed) for s in seconds]


def test_the_strip_has_a_bar_for_each_push_and_places_for_twenty():
    shown = strip(attempts(0, 60, 200, 260, failed=(260,)), 60 * SECOND)
    paths = dict(shown.paths)
    assert {kind: path.count("M") for kind, path in paths.items()} == {
        "ok": 2,
        "late": 1,
        "failed": 1,
        "none": 16,
    }
    assert shown.label == "Last 4 pushes, 1 late, 1 refused"
    assert paths["failed"] == "M17 1v14"


def test_a_group_without_pushes_has_an_empty_strip():
    assert strip([], 0).label == "No pushes yet"


def test_the_history_comes_latest_first_with_the_time_between():
    past = history(attempts(0, 90, 3690, failed=(90,)), 3700 * SECOND)
    assert [(push.at.ago, push.is_accepted, push.since) for push in past] == [
        ("10 s ago", True, "1 h"),
        ("1 h ago", False, "1 min 30 s"),
        ("1 h ago", True, ""),
    ]


def test_the_usual_time_between_pushes_is_the_median_of_accepted_ones():
    assert rhythm(attempts(0, 60, 120, 1000, 1060, failed=(1000,))) == (
        60.0,
        "1 min apart, ± 4 min 53 s",
    )
    assert rhythm(attempts(5))[0] == 0.0


def test_the_selector_of_a_group_is_one_that_selects_it_only():
    this = key('a"b\n', instance="", path="x")
    written = selector(this)
    assert written == r'{job="a\"b\n",instance="",path="x"}'
    assert parse_selector(written).matches(this.labels)
    assert not parse_selector(written).matches(key("a", instance="", path="x").labels)


def test_what_can_be_copied_names_the_group_whatever_it_is_called():
    hostile = group(GroupingKey({"job": "it's {{ x }}", "a b": "$(rm)"}.items()))
    named = snippets(hostile, Rule(), UTF8, "http://gw:9091")
    assert named["selector"] == '{job="it\'s {{ x }}","a b"="$(rm)"}'
    assert "\n    time() - push_time_seconds{job=" in named["alert rule"]
    assert named["delete command"] == (
        "pushgate delete --address http://gw:9091 --job 'it'\"'\"'s {{ x }}' --group 'a b=$(rm)'"
    )
    assert named["curl"].startswith("curl --data-binary @metrics.txt http://gw:9091/metrics/job@")


def test_the_alert_rule_goes_by_the_rule_else_by_the_usual_interval():
    this = group(key("nightly_backup"))
    by_rule = snippets(this, Rule(expect_every=3600 * SECOND), LEGACY, "http://gw")["alert rule"]
    assert "> 5400" in by_rule
    assert "alert: NightlyBackupIsLate" in by_rule
    assert "> 129600" in snippets(this, Rule(), LEGACY, "http://gw")["alert rule"]

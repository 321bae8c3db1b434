"""A rules file is read, or refused with the place of the mistake, and followed while it is used."""

import asyncio
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.rules import LiveRules, parse
from pushgate.server.store.aggregation import Aggregation
from pushgate.server.store.rules import Rule
from tests.server.pushes import key

pytestmark = pytest.mark.anyio

HOUR = 3600 * 10**9


def test_a_rule_has_durations_in_nanoseconds():
    text = b"""
rules:
  - match: '{job=~"backup.*"}'
    expect_every: 24h
    ttl: 7d
    forget_after: 90d
  - match: '{job="lambda"}'
    ttl: 1h30m
  - match: '{}'
"""
    backup, other, rest = parse(text)
    assert (backup.expect_every, backup.ttl, backup.forget_after) == (
        24 * HOUR,
        7 * 24 * HOUR,
        90 * 24 * HOUR,
    )
    assert (other.expect_every, other.ttl, other.forget_after) == (0, HOUR * 3 // 2, 0)
    assert (rest.expect_every, rest.ttl, rest.forget_after) == (0, 0, 0)
    assert backup.selector.matches(key("backup-db").labels)
    assert not backup.selector.matches(key("lambda").labels)
    assert rest.selector.matches(key("anything").labels)


def test_a_rule_says_how_to_add_up_by_type_and_by_name():
    text = b"rules: [{match: '{}', aggregate: {counter: sum, gauge: last, temperature: max}}]"
    (rule,) = parse(text)
    assert rule.aggregate.operations == {"counter": "sum", "gauge": "last", "temperature": "max"}


def test_a_rule_that_names_no_operation_adds_series_by_series():
    (rule,) = parse(b"rules: [{match: '{}', aggregate: {}}]")
    assert rule.aggregate == Aggregation({})


MATCH = "- match: '{job=\"a\"}'\n  "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: rules is missing"),
        ("rule: []", "line 1: unknown key rule, did you mean rules?"),
        ("rules: yes", "line 1: rules: expected a list, got a string"),
        ("rules:\n- ttl: 1h", "line 2: rules[0]: match is missing"),
        (f"rules:\n{MATCH}tll: 1h", "line 3: rules[0]: unknown key tll, did you mean ttl?"),
        (f"rules:\n{MATCH}ttl: 1h\n  ttl: 2h", "line 4: the key ttl is given twice"),
        (
            f"rules:\n{MATCH}ttl: 3600",
            'line 3: rules[0].ttl: missing unit in duration "3600"; write one such as 90s',
        ),
        (
            f"rules:\n{MATCH}expect_every: -1h",
            "line 3: rules[0].expect_every: -1h is not longer than nothing; leave the key out",
        ),
        (
            f"rules:\n{MATCH}forget_after: 0",
            "line 3: rules[0].forget_after: 0 is not longer than nothing; leave the key out",
        ),
        (f"rules:\n{MATCH}ttl:\n", "line 3: rules[0].ttl: expected a string, got nothing"),
        (
            f"rules:\n{MATCH}ttl: 2h\n  forget_after: 1h",
            "line 4: rules[0].forget_after: it is shorter than the ttl",
        ),
        (
            f"rules:\n{MATCH}aggregate: {{gauge: avg}}",
            "line 3: rules[0].aggregate.gauge: expected sum, max, min or last, got avg",
        ),
        (
            f"rules:\n{MATCH}aggregate:\n    counter: sum\n    histogram: max",
            "line 5: rules[0].aggregate.histogram: expected sum or last, got max",
        ),
        (f"rules:\n{MATCH}aggregate: sum", "line 3: rules[0].aggregate: expected a mapping"),
        (f"rules:\n{MATCH}aggregate: {{m: 7}}", "line 3: rules[0].aggregate.m: expected"),
        ("rules:\n- match: 'job=a'", "line 2: rules[0].match: "),
        ("rules: [", "yaml: line "),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_key(text, message):
    with pytest.raises(StartupError) as refused:
        parse(text.encode())
    assert str(refused.value).startswith(message)


def rule(ttl: str) -> str:
    return f"rules: [{{match: '{{job=\"a\"}}', ttl: {ttl}}}]"


@pytest.fixture
def file(tmp_path) -> Path:
    file = tmp_path / "rules.yml"
    file.write_text(rule("1h"))
    return file


def ttl(live: LiveRules) -> int:
    return live.rules.of(key("a")).ttl


async def test_without_a_file_all_groups_have_the_default():
    live = LiveRules(None, Rule(ttl=HOUR))
    assert ttl(live) == HOUR
    await asyncio.wait_for(live.watch(lambda: None), 10)


async def test_the_first_rule_that_selects_a_group_holds(file):
    file.write_text(
        "rules:\n- {match: '{job=\"a\"}', ttl: 2h}\n- {match: '{job=~\".*\"}', ttl: 3h}"
    )
    live = LiveRules(file, Rule(ttl=HOUR))
    assert (ttl(live), live.rules.of(key("b")).ttl) == (2 * HOUR, 3 * HOUR)


async def test_a_group_that_no_rule_selects_has_the_default(file):
    live = LiveRules(file, Rule(forget_after=HOUR))
    assert live.rules.of(key("b")) == Rule(forget_after=HOUR)


async def test_a_change_counts_once_two_polls_find_it(file):
    live = LiveRules(file)
    assert not await live.poll()
    file.write_text(rule("120m"))  # of another size: it may be written in the same tick
    assert not await live.poll()
    assert ttl(live) == HOUR
    assert await live.poll()
    assert ttl(live) == 2 * HOUR
    assert not await live.poll()


async def test_a_file_that_is_half_written_is_not_judged(file):
    live = LiveRules(file)
    file.write_text("rules: [")
    assert not await live.poll()
    file.write_text(rule("2h"))
    assert not await live.poll()
    assert await live.poll()
    assert (ttl(live), live.failures) == (2 * HOUR, 0)


async def test_an_invalid_file_keeps_the_last_valid_rules_and_says_so_once(file):
    live = LiveRules(file)
    file.write_text("rules: [{match: 7}]\n")
    assert [await live.poll() for _ in range(4)] == [False, True, False, False]
    assert ttl(live) == HOUR
    assert live.failures == 1
    assert "rules[0].match" in str(live.error)
    file.write_text(rule("1h"))
    await live.poll()
    assert await live.poll()
    assert (live.error, ttl(live)) == (None, HOUR)


async def test_a_file_that_is_gone_keeps_the_rules_until_it_is_back(file):
    live = LiveRules(file)
    file.rename(file.with_suffix(".kept"))
    assert not await live.poll()
    assert await live.poll()
    assert "no such file" in str(live.error)
    file.with_suffix(".kept").rename(file)
    await live.poll()
    assert await live.poll()
    assert (live.error, live.failures, ttl(live)) == (None, 1, HOUR)


async def test_a_request_reads_the_file_at_once(file):
    live = LiveRules(file)
    found = asyncio.Event()
    watch = asyncio.create_task(live.watch(found.set))
    file.write_text(rule("2h"))
    live.request_reload()
    await asyncio.wait_for(found.wait(), 10)
    assert ttl(live) == 2 * HOUR
    watch.cancel()


async def test_a_file_that_cannot_be_used_is_refused_at_the_start(file):
    file.write_text("rules: 1")
    with pytest.raises(StartupError, match="line 1: rules: expected a list"):
        LiveRules(file)

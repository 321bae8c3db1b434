"""The rules file is followed while the server runs; a bad one changes nothing."""

import asyncio
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.rules.live import LiveRules
from pushgate.server.store.rules import Rule
from tests.server.pushes import key

pytestmark = pytest.mark.anyio

HOUR = 3600 * 10**9


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

"""Groups are listed and deleted by selector, age and failure, on a real gateway."""

import time
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from pushgate import ConfigurationError, PushgatewayError, PushRejectedError
from pushgate.client import group_list
from tests import services
from tests.client.rogue import answer, rogue


@pytest.fixture(scope="module")
def running():
    with services.pushgate() as service:
        yield service


@pytest.fixture
def gateway(running, caller):
    made = caller.make(running.url, retry=0)
    for group in caller.call(made, "groups"):
        labels = dict(group.labels)
        one = made.replace(job=labels.pop("job"), grouping_key=labels)
        caller.call(one, "delete")
    return made


@pytest.fixture
def pushed(gateway, caller, registry):
    for job, host in (("a", "x1"), ("a", "x2"), ("b", "y")):
        one = gateway.replace(job=job, grouping_key={"host": host}, registry=registry)
        caller.call(one, "push")
    return gateway


def hosts(groups):
    return [group.labels["host"] for group in groups]


@pytest.mark.parametrize(
    ("arguments", "conditions", "expected"),
    [
        ((), {}, ["x1", "x2", "y"]),
        (('{host=~"x.*"}',), {}, ["x1", "x2"]),
        ((['{job="b"}', '{host="x1"}'],), {}, ["x1", "y"]),
        ((), {"failed": True}, []),
        ((), {"failed": False, "older_than": 3600}, []),
        (('{job="a"}',), {"failed": False}, ["x1", "x2"]),
    ],
)
def test_the_groups_that_meet_the_conditions_are_listed(
    pushed, caller, arguments, conditions, expected
):
    assert hosts(caller.call(pushed, "list_groups", *arguments, **conditions)) == expected


def test_a_listed_group_says_when_and_why(pushed, caller):
    [group] = caller.call(pushed, "list_groups", '{job="b"}')
    assert abs(group.last_push - time.time()) < 60
    assert (group.last_failure, group.failure_reason, group.failure_source) == (None, "", "")
    assert (group.last_push_successful, group.series, group.families) == (True, 1, 1)
    assert (group.expires_at, group.expected_interval, group.late) == (None, None, False)
    for job, kind in (("c", Counter), ("d", Gauge)):
        one = CollectorRegistry()
        kind("clash_total", "Of two types", registry=one)
        with suppress(PushRejectedError):
            caller.call(pushed.replace(job=job, registry=one), "push")
    [failed] = caller.call(pushed, "list_groups", failed=True)
    assert (failed.labels["job"], failed.last_push) == ("d", None)
    assert "clash_total" in failed.failure_reason
    assert failed.failure_source == "127.0.0.1"
    assert abs(failed.last_failure - time.time()) < 60


def test_all_pages_are_listed(pushed, caller, monkeypatch):
    monkeypatch.setattr("pushgate.client.base.PAGE", 2)
    assert hosts(caller.call(pushed, "list_groups")) == ["x1", "x2", "y"]
    assert group_list.PAGE == 1000


def test_matching_groups_are_deleted_and_returned(pushed, caller):
    would = caller.call(pushed, "delete_groups", '{job="a"}', dry_run=True)
    assert (hosts(would), len(caller.call(pushed, "groups"))) == (["x1", "x2"], 3)
    gone = caller.call(pushed, "delete_groups", '{job="a"}')
    assert (hosts(gone), len(caller.call(pushed, "groups"))) == (["x1", "x2"], 1)


@pytest.mark.parametrize("older_than", [0, -1, "1h"])
def test_an_age_that_is_none_is_refused_before_anything_is_sent(caller, older_than):
    with rogue() as server:
        with pytest.raises(ConfigurationError, match="older_than"):
            caller.call(caller.make(server.url), "delete_groups", older_than=older_than)
        assert server.seen == []


@pytest.mark.parametrize(
    ("arguments", "said"), [(("{job>1}",), "position 5"), ((), "must say which groups")]
)
def test_what_the_gateway_refuses_is_an_error_that_says_why(gateway, caller, arguments, said):
    with pytest.raises(PushRejectedError, match=said):
        caller.call(gateway, "delete_groups", *arguments)


def test_a_gateway_without_the_list_is_told_so(caller):
    with rogue(answer(404, b"404 page not found")) as server:
        gateway = caller.make(server.url)
        with pytest.raises(PushRejectedError, match="the gateway has no list of groups"):
            caller.call(gateway, "list_groups")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": {}}', b'{"data": {"total": 1}}'])
def test_what_is_no_gateway_is_told_from_one(caller, body):
    with rogue(answer(200, body)) as server:
        gateway = caller.make(server.url)
        with pytest.raises(PushgatewayError, match="not what a Pushgateway answers"):
            caller.call(gateway, "list_groups")


def test_nothing_is_deleted_while_pushing_is_switched_off(caller):
    with rogue() as server:
        gateway = caller.make(server.url, enabled=False)
        assert caller.call(gateway, "delete_groups", '{job="a"}') == ()
        assert server.seen == []


def test_merge_replaces_the_same_series_and_keeps_all_others(gateway, caller):
    def pushed_as(method, **values):
        registry = CollectorRegistry()
        gauge = Gauge("done", "Done", ["step"], registry=registry)
        for step, value in values.items():
            gauge.labels(step).set(value)
        caller.call(gateway.replace(job="m", registry=registry), method)

    pushed_as("push", one=1, two=2)
    pushed_as("merge", two=20, three=30)
    [group] = caller.call(gateway, "list_groups", '{job="m"}')
    assert (group.families, group.series) == (1, 3)
    pushed_as("push_add", two=20)
    [group] = caller.call(gateway, "list_groups", '{job="m"}')
    assert (group.families, group.series) == (1, 1)


def test_a_gateway_without_patch_is_told_so(caller, registry):
    with rogue(answer(405, b"Method Not Allowed")) as server:
        gateway = caller.make(server.url, registry=registry)
        with pytest.raises(PushRejectedError, match="cannot replace single series; Pushgate can"):
            caller.call(gateway, "merge")

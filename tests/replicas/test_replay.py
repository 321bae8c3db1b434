"""The replay finds verdicts, losses and orders that one server would not have given."""

from dataclasses import replace

import pytest

from tests.replicas.load import Request, may_be_stored, states
from tests.replicas.replay import Entry, objections, replayed, reversals, shown

A, GAUGE, COUNTER = ("a", "gauge", ""), ("c", "gauge", ""), ("c", "counter", "")


def put(number: int, job: str, *series, status: int | None = 200, **more) -> Request:
    request = Request(number, job, "PUT", dict.fromkeys(series, str(number)), **more)
    request.statuses, request.began, request.ended = [status], number, number + 0.5
    request.may_be_stored = may_be_stored(status, "unknown")
    return request


def taken(request: Request, wrong: str = "") -> Entry:
    return Entry("Replace", request.name, request.number, wrong)


FIRST, SECOND = put(1, "job1", A, GAUGE), put(2, "job2", A, COUNTER, status=400)
IN_ORDER = [taken(FIRST), taken(SECOND, "ConflictingPush")]


def test_what_one_server_would_have_done_is_accepted():
    replay = replayed(IN_ORDER, [FIRST, SECOND])
    assert replay.differences == []
    assert [*objections(IN_ORDER, [FIRST, SECOND])] == []
    assert [*reversals(IN_ORDER, [FIRST, SECOND])] == []
    assert states(shown(replay.store)) == {"job1": frozenset({(A, "1"), (GAUGE, "1")})}


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param([taken(FIRST), taken(SECOND)], id="a contradiction was taken"),
        pytest.param([taken(FIRST, "ConflictingPush")], id="nothing was wrong"),
        pytest.param([taken(SECOND, "ConflictingPush"), taken(FIRST)], id="another order"),
    ],
)
def test_another_verdict_is_found(trace):
    assert replayed(trace, [FIRST, SECOND]).differences


def test_a_deletion_makes_room():
    other = replace(SECOND, statuses=[200])
    trace = [taken(FIRST), Entry("Delete", "job1", 0, ""), taken(other)]
    assert replayed(trace, [FIRST, other]).differences == []


@pytest.mark.parametrize(
    ("trace", "request_", "objection"),
    [
        ([], FIRST, "was acknowledged, and taken 0 times"),
        ([taken(FIRST)] * 2, FIRST, "was acknowledged, and taken 2 times"),
        ([taken(SECOND)], SECOND, "was refused"),
        ([taken(FIRST)] * 2, put(1, "job1", A, status=None), "took place"),
        ([taken(FIRST)], put(1, "job1", A, status=500), "was not stored, but taken 1 times"),
    ],
)
def test_an_answer_that_was_wrong_is_found(trace, request_, objection):
    (found,) = objections(trace, [request_])
    assert objection in found


def test_a_push_that_stands_behind_one_that_began_later_is_found():
    assert [*reversals(IN_ORDER[::-1], [FIRST, SECOND])]


def test_pushes_that_were_under_way_together_may_have_any_order():
    slow = replace(FIRST, ended=9.0)
    assert [*reversals([taken(SECOND), taken(slow)], [slow, SECOND])] == []


def test_pushes_that_add_up_count_once():
    series = ("n_total", "counter", "w")
    add = Request(1, "sum1", "POST", {series: "1"}, once="0-1")
    add.statuses, add.may_be_stored = [None, 200], True
    trace = [Entry("Merge", add.name, 1, "")] * 2
    replay = replayed(trace, [add])
    assert [*objections(trace, [add])] == []
    assert states(shown(replay.store)) == {"sum1": frozenset({(series, "1")})}

"""The API of groups, as a client sees it."""

import asyncio
import hashlib
import json
import time
from datetime import datetime
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import JournalFailed
from pushgate.model.slices import finished
from pushgate.server.settings import Settings
from pushgate.server.store import visible as visible_module
from pushgate.server.store.change import Fail
from pushgate.server.store.group import Failure
from pushgate.server.store.rules import Rule, Rules
from tests.server.http.asgi import Served
from tests.server.http.connection import wired
from tests.server.journals import ForgetfulJournal
from tests.server.pushes import change, content, key, put
from tests.server.store.gateways import until

SECOND = 10**9


def ago(seconds: int) -> int:
    return time.time_ns() - seconds * SECOND


def some_groups() -> Served:
    served = Served()
    for one in (
        put(key("backup", instance="db1"), "a 1\nb 2\n", ago(10)),
        put(key("backup", instance="db2"), "a 1\n", ago(20_000)),
        put(key("export"), "c 1\nd 2\ne{l='1'} 3\n".replace("'", '"'), ago(10_000)),
        put(key("old"), "f 1\n", ago(100_000)),
        Fail(key("backup", instance="db2"), ago(5), Failure("it is bad", "10.0.0.7")),
        Fail(key("never"), ago(50)),
    ):
        change(served.store, one)
    return served


@pytest.fixture(scope="module")
def served() -> Served:
    return some_groups()


def asked(served: Served, method: str = "GET", **query) -> dict:
    pairs = [(name.replace("match", "match[]"), value) for name, value in query.items()]
    answer = served.ask(method, "/api/v1/groups?" + urlencode(pairs, doseq=True))
    assert answer.headers["content-type"] == "application/json"
    said = json.loads(answer.body)
    if answer.status != 200:
        assert (answer.status, said["status"], said["errorType"]) == (400, "error", "bad_data")
        return said["error"]
    assert said["status"] == "success"
    return said["data"]


def names(data: dict) -> list[str]:
    return ["/".join(group["labels"].values()) for group in data["groups"]]


def test_a_group_is_listed_with_its_labels_times_and_sizes(served):
    [group] = asked(served, match='{instance="db2"}')["groups"]
    push_time, failure_time = group.pop("push_time"), group.pop("failure_time")
    assert group == {
        "labels": {"instance": "db2", "job": "backup"},
        "expires_at": None,
        "expected_interval_seconds": None,
        "late": False,
        "last_push_successful": False,
        "last_failure": {"reason": "it is bad", "source": "10.0.0.7"},
        "series": 1,
        "families": 1,
    }
    assert push_time < failure_time


def test_what_never_happened_is_null(served):
    [group] = asked(served, match='{job="never"}')["groups"]
    assert (group["push_time"], group["last_failure"], group["series"]) == (None, None, 0)
    [group] = asked(served, match='{job="old"}')["groups"]
    assert (group["failure_time"], group["last_push_successful"]) == (None, True)


def test_a_group_under_a_rule_is_listed_with_its_expiry_and_whether_it_is_late():
    rule = Rule(expect_every=60 * SECOND, ttl=1000 * SECOND)
    served = Served()
    change(served.store, put(key("late"), "m 1\n", ago(100)))
    change(served.store, put(key("early"), "m 1\n", ago(10)))
    finished(served.store.governing(Rules(default=rule)))
    early, late = asked(served)["groups"]
    assert (early["late"], late["late"], early["expected_interval_seconds"]) == (False, True, 60)
    expires, pushed = map(datetime.fromisoformat, (late["expires_at"], late["push_time"]))
    assert (expires - pushed).total_seconds() == 1000


ALL = ["db1/backup", "db2/backup", "export", "never", "old"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ALL),
        ({"match": "{}"}, ALL),
        ({"match": '{job=~"b.*"}'}, ALL[:2]),
        ({"match": ['{job="old"}', '{instance="db1"}']}, ["db1/backup", "old"]),
        ({"match": '{instance=""}'}, ["export", "never", "old"]),
        ({"match": '{job="none"}'}, []),
        ({"failed": "true"}, ["db2/backup", "never"]),
        ({"failed": "0"}, ["db1/backup", "export", "old"]),
        ({"older_than": "2h"}, ["db2/backup", "export", "old"]),
        ({"older_than": "1d"}, ["old"]),
        ({"older_than": "2h", "match": '{job="backup"}', "failed": "1"}, ["db2/backup"]),
        ({"sort": "-labels"}, ALL[::-1]),
        ({"sort": "push_time"}, ["never", "old", "db2/backup", "export", "db1/backup"]),
        ({"sort": "-failure_time", "limit": 2}, ["db2/backup", "never"]),
        ({"sort": "series"}, ["never", "db2/backup", "old", "db1/backup", "export"]),
        ({"sort": "-families", "limit": 1}, ["export"]),
        ({"limit": 2}, ALL[:2]),
        ({"limit": 2, "offset": 4}, ALL[4:]),
        ({"offset": 5}, []),
    ],
)
def test_the_query_chooses_sorts_and_pages(served, query, expected):
    assert names(asked(served, **query)) == expected


def test_the_total_counts_all_that_match(served):
    assert asked(served, match='{job=~"b.*"}', limit=1)["total"] == 2
    assert asked(served, offset=100)["total"] == 5


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"match": "{job>1}"}, 'invalid parameter "match[]": position 5: expected "=", "!="'),
        ({"match": ""}, 'invalid parameter "match[]": position 1: expected "{"'),
        ({"match": ['{job="a"}', "{"]}, 'invalid parameter "match[]": position 2: '),
        ({"match": '{job=~"("}'}, 'invalid parameter "match[]": position 7: invalid regular'),
        ({"failed": "maybe"}, 'invalid parameter "failed": position 1: expected true or false'),
        ({"older_than": "soon"}, 'invalid parameter "older_than": position 1: expected a duration'),
        ({"older_than": ""}, 'invalid parameter "older_than": position 1: expected a duration'),
        ({"older_than": "-1h"}, 'invalid parameter "older_than": '),
        ({"older_than": ["1h", "2h"]}, 'invalid parameter "older_than": given more than once'),
        ({"mach": "x"}, 'invalid parameter "mach": unknown; expected one of match[], failed'),
        ({f"x{n}": 1 for n in range(200)}, 'invalid parameter "x0": a query has at most 100'),
    ],
)
def test_a_wrong_parameter_is_named_with_the_position(method, query, said):
    served = some_groups()
    assert asked(served, method, **query).startswith(said)
    assert len(served.store) == 5


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"sort": "size"}, 'invalid parameter "sort": position 1: expected one of labels'),
        ({"limit": "0"}, 'invalid parameter "limit": position 1: expected a whole number from 1'),
        ({"limit": "1001"}, 'invalid parameter "limit": '),
        ({"limit": "²"}, 'invalid parameter "limit": '),
        ({"offset": "-1"}, 'invalid parameter "offset": '),
        ({"offset": "9" * 5000}, 'invalid parameter "offset": '),
        ({"dry_run": "true"}, 'invalid parameter "dry_run": unknown'),
    ],
)
def test_a_wrong_parameter_of_the_list_is_named(served, query, said):
    assert asked(served, **query).startswith(said)


@given(st.binary(max_size=60))
def test_any_query_is_answered(query):
    served = Served()
    answer = served.ask("GET", "/api/v1/groups?" + query.decode("utf-8", "surrogateescape"))
    assert answer.status in {200, 400}


@pytest.mark.parametrize(
    ("query", "gone"),
    [
        ({"match": '{job="backup"}'}, ["db1/backup", "db2/backup"]),
        ({"older_than": "4h"}, ["db2/backup", "old"]),
        ({"match": "{}", "older_than": "4h"}, ["db2/backup", "old"]),
        ({"match": '{job="none"}'}, []),
        ({"match": ['{job="old"}', '{job="never"}']}, ["never", "old"]),
        ({"match": '{job=~".+"}', "failed": "true"}, ["db2/backup", "never"]),
        ({"match": '{job=~".+"}'}, ALL),
    ],
)
def test_groups_are_deleted_and_listed_and_a_dry_run_only_lists_them(query, gone):
    served = some_groups()
    dry = asked(served, "DELETE", dry_run="true", **query)
    assert (names(dry), dry["total"], dry["dry_run"]) == (gone, len(gone), True)
    assert names(asked(served)) == ALL
    done = asked(served, "DELETE", **query)
    assert (names(done), done["total"], done["dry_run"]) == (gone, len(gone), False)
    assert names(asked(served)) == [name for name in ALL if name not in gone]


@pytest.mark.parametrize(
    "query", [{}, {"failed": "true"}, {"match": "{}"}, {"match": ['{job="old"}', "{}"]}]
)
def test_deleting_needs_a_matcher_or_an_age(query):
    served = some_groups()
    assert "must say which groups to delete" in asked(served, "DELETE", **query)
    assert len(served.store) == 5


class FullJournal(ForgetfulJournal):
    """A journal on a disk that is full."""

    def append(self, steps):
        if any(step.after is None for step in steps):
            raise JournalFailed("the disk is full")


def test_nothing_is_deleted_when_the_journal_fails():
    async def deleted() -> tuple[int, int]:
        served = Served(journal=FullJournal())
        served.gateway.start()
        for job in "ab":
            await served.asked("PUT", f"/metrics/job/{job}", "m 1\n")
        answer = await served.asked("DELETE", "/api/v1/groups?older_than=0s")
        await served.gateway.close()
        return answer.status, len(served.store)

    assert asyncio.run(deleted()) == (503, 2)


class AwayJournal(ForgetfulJournal):
    """A journal in a database that does not answer."""

    is_shared = True

    def check(self):
        raise JournalFailed("nobody answers")


@pytest.mark.parametrize(
    ("method", "target"),
    [("DELETE", "/api/v1/groups?older_than=0s"), ("PUT", "/api/v1/admin/wipe")],
)
def test_no_deletion_succeeds_while_other_servers_may_have_groups_that_are_unknown(method, target):
    async def asked():
        served = Served(Settings(web_enable_admin_api=True), journal=AwayJournal())
        served.gateway.start()
        answer = await served.asked(method, target)
        await served.gateway.close()
        return answer

    answer = asyncio.run(asked())
    assert answer.status == 503
    assert "the database does not answer" in answer.text
    assert "retry-after" in answer.headers


def test_a_group_that_is_pushed_to_while_old_ones_are_deleted_is_kept():
    async def raced() -> tuple[dict, int]:
        served = some_groups()
        target = "/api/v1/groups?older_than=4h"
        deletion = asyncio.create_task(served.asked("DELETE", target))
        await served.asked("PUT", "/metrics/job/old", "f 2\n")
        return json.loads((await deletion).body)["data"], len(served.store)

    data, left = asyncio.run(raced())
    assert (names(data), left) in [(["db2/backup"], 4), (["db2/backup", "old"], 4)]


def permitted(tmp_path, allow: str) -> Served:
    path = tmp_path / "web.yml"
    digest = hashlib.sha256(b"secret").hexdigest()
    path.write_text(
        f"bearer_tokens:\n  - {{name: me, sha256: {digest}}}\n"
        f"permissions:\n  tokens:\n    me: [{allow}]\n"
        "rate_limit: {interval: 1h, burst: 3}\n"
    )
    served = Served(web_config=path)
    for job in ("mine-1", "mine-2", "theirs"):
        change(served.store, put(key(job), "m 1\n"))
    return served


def test_one_job_that_is_not_permitted_refuses_the_whole_deletion(tmp_path):
    served = permitted(tmp_path, '{allow: [delete], jobs: ["mine-*"]}')
    bearer = {"Authorization": "Bearer secret"}

    def deleted(selector: str) -> tuple[int, str]:
        answer = served.ask("DELETE", f"/api/v1/groups?match[]={quote(selector)}", b"", bearer)
        return answer.status, answer.text

    status, said = deleted('{job=~".+"}')
    assert (status, len(served.store)) == (403, 3)
    assert said == 'token "me" lacks permission delete for job "theirs"\n'
    status, _ = deleted('{job=~"mine.*"}')
    assert (status, len(served.store)) == (200, 1)  # and took one token, not one for each job


def test_deleting_needs_credentials_before_anything_else(tmp_path):
    served = permitted(tmp_path, "delete")
    assert served.ask("DELETE", "/api/v1/groups?match[]={").status == 401


def test_requests_are_counted():
    served = some_groups()
    asked(served)
    asked(served, "DELETE", match='{job="old"}')
    asked(served, match="{")
    assert {
        "200 api/v1/groups get",
        "200 api/v1/groups delete",
        "400 api/v1/groups get",
    } <= served.counted()


def test_the_reason_and_source_of_a_refused_push_are_listed_after_later_pushes_too():
    served = Served()
    served.ask("PUT", "/metrics/job/a", "# TYPE m counter\nm 1\n")
    refused = served.ask("PUT", "/metrics/job/b", "# TYPE m gauge\nm 1\n")
    assert refused.status == 400
    [group] = asked(served, failed=1)["groups"]
    assert group["last_failure"]["source"] == "127.0.0.1"
    assert group["last_failure"]["reason"] in refused.text
    assert len(group["last_failure"]["reason"].splitlines()) == len(refused.text.splitlines()) > 1
    served.ask("PUT", "/metrics/job/b", "n 1\n")
    [group] = asked(served, match='{job="b"}')["groups"]
    assert (group["last_push_successful"], group["last_failure"] is None) == (True, False)


def test_a_long_reason_is_cut():
    served = Served()
    body = "".join(f'm{{l="{n}",instance="{"x" * 400}"}} 1\n' * 2 for n in range(10))
    served.ask("PUT", "/metrics/job/b", body)
    [group] = asked(served)["groups"]
    assert len(group["last_failure"]["reason"]) == 1000


def test_a_wipe_deletes_every_group_before_it_is_answered():
    served = Served(Settings(web_enable_admin_api=True))
    for job in "ab":
        served.ask("PUT", "/metrics/job/" + job, "m 1\n")
    answer = served.ask("PUT", "/api/v1/admin/wipe", headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.headers) == (202, {"content-length": "0"})
    assert served.ask("GET", "/api/v1/metrics").text == '{"status":"success","data":[]}'


def test_a_push_is_answered_while_a_wipe_runs_and_is_kept(monkeypatch):
    monkeypatch.setattr(visible_module, "_RUN", 4)

    async def raced() -> tuple:
        async with wired(web_enable_admin_api=True) as wire:
            store = wire.context.gateway.store
            for number in range(2000):
                change(store, put(key(f"{number:04}"), "m 1\n"))
            wipe = asyncio.create_task(
                wire.exchanged(b"PUT /api/v1/admin/wipe HTTP/1.1\r\nHost: g\r\n\r\n")
            )
            await until(lambda: len(store) < 2000)
            [push] = await wire.exchanged(
                b"PUT /metrics/job/1999 HTTP/1.1\r\nHost: g\r\nContent-Length: 4\r\n\r\nm 2\n"
            )
            is_wiped = wipe.done()
            [wiped] = await wipe
            return push, is_wiped, wiped, [content(group) for group in store.groups()]

    push, is_wiped, wiped, left = asyncio.run(raced())
    assert (push.status, is_wiped) == (200, False)
    assert (wiped.status, left) == (202, [{"m": [b"2"]}])


def test_a_wipe_needs_the_admin_api():
    assert Served().ask("PUT", "/api/v1/admin/wipe").status == 404

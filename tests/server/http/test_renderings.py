"""What browsers that refresh a page get."""

import asyncio
import tracemalloc
from dataclasses import replace
from urllib.parse import quote

import pytest

from pushgate.server.access.live import LiveConfig
from pushgate.server.app import App
from pushgate.server.http import renderings
from pushgate.server.http.stream import in_steps
from pushgate.server.settings import Settings
from pushgate.server.ui import pages, search
from pushgate.server.ui.groups import group_id
from tests.server.http.asgi import Response, Served
from tests.server.pushes import change, key, put

SLOW_SEARCH = quote('{job=~"(((a{30}){30})?|.)*"}')
POLL = {"Cache-Control": "max-stale"}


@pytest.fixture
def one(monkeypatch) -> Served:
    """A gateway with one group, where time makes no difference to pages."""
    monkeypatch.setattr(pages, "_ages", lambda: 0)
    one = Served(Settings())
    change(one.store, put(key("first"), "m 1\n", time=10**18))
    return one


def again(one: Served, target: str, first: Response) -> Response:
    return one.ask("GET", target, headers={"If-None-Match": first.headers["etag"], **POLL})


@pytest.mark.parametrize("target", ["/", "/rules", "/help", f"/ui/group/{group_id(key('first'))}"])
def test_a_page_is_not_sent_again_while_it_stays_the_same(one, target):
    first = one.ask("GET", target)
    second = again(one, target, first)
    assert (second.status, second.body, second.headers["etag"]) == (304, b"", first.headers["etag"])


@pytest.mark.parametrize("target", ["/", f"/ui/group/{group_id(key('first'))}"])
def test_a_page_is_sent_again_when_its_group_was_pushed(one, target):
    first = one.ask("GET", target)
    change(one.store, put(key("first"), "another 1\n", time=2 * 10**18))
    second = one.ask("GET", target, headers={"If-None-Match": first.headers["etag"]})
    assert (second.status, second.headers["etag"] != first.headers["etag"]) == (200, True)


def test_a_page_that_a_proxy_has_compressed_is_not_sent_again(one):
    etag = one.ask("GET", "/").headers["etag"]
    assert one.ask("GET", "/", headers={"If-None-Match": f"W/{etag}"}).status == 304


def test_only_who_accepts_that_gets_a_page_from_a_moment_ago(one):
    assert "second" not in one.ask("GET", "/").text
    change(one.store, put(key("second"), "m 1\n", time=10**18))
    assert "second" not in one.ask("GET", "/", headers=POLL).text
    assert "second" in one.ask("GET", "/").text
    assert "second" in one.ask("GET", "/", headers=POLL).text


def test_a_page_from_longer_ago_is_rendered_anew(one, monkeypatch):
    monkeypatch.setattr(renderings, "_max_staleness", lambda _seconds: 0)
    one.ask("GET", "/")
    change(one.store, put(key("second"), "m 1\n", time=10**18))
    assert "second" in one.ask("GET", "/", headers=POLL).text


@pytest.mark.parametrize(
    ("seconds", "behind"), [(0, 1), (0.004, 1), (0.01, 2.5), (0.1, 5), (1, 10), (5, 50)]
)
def test_refreshes_take_little_of_the_time(seconds, behind):
    assert renderings._max_staleness(seconds) == pytest.approx(behind)


def test_browsers_that_ask_at_the_same_time_share_a_rendering(one):
    async def ten() -> list[Response]:
        return await asyncio.gather(*(one.asked("GET", "/status", headers=POLL) for _ in range(10)))

    answers = asyncio.run(ten())
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1  # it says at which millisecond


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept-Encoding": "gzip"},
        {"Accept-Encoding": "", "accept-encoding": "gzip"},  # on two lines
        {"Host": "other"},
        {"X-Forwarded-Host": "other"},
        {"X-Forwarded-Proto": "https"},
        {"Authorization": "Basic eDp5"},
    ],
)
def test_answers_to_different_requests_are_kept_apart(one, headers):
    first = one.ask("GET", "/help", headers=POLL)
    second = one.ask("GET", "/help", headers={**POLL, **headers})
    assert second.headers["etag"] != first.headers["etag"]


def test_other_permissions_make_another_page(one):
    first = one.ask("GET", "/")
    one.app = App(replace(one.context, live=LiveConfig(None)))
    assert one.ask("GET", "/", headers={"If-None-Match": first.headers["etag"]}).status == 200


def test_no_page_waits_for_a_search_that_takes_long(one, monkeypatch):
    async def while_one_searches() -> tuple[Response, Response]:
        searching, may_end = asyncio.Event(), asyncio.Event()

        async def in_thread(work):
            searching.set()
            await may_end.wait()
            return await in_steps(work)

        monkeypatch.setattr(search, "in_thread", in_thread)
        found = asyncio.create_task(one.asked("GET", f"/?q={SLOW_SEARCH}"))
        await searching.wait()
        other = await asyncio.wait_for(one.asked("GET", "/status"), 30)
        may_end.set()
        return await found, other

    found, other = asyncio.run(while_one_searches())
    assert (found.status, other.status) == (200, 200)


def test_few_renderings_are_kept(one):
    for number in range(100):
        one.ask("GET", f"/?q={number}")
    assert len(one.context.renderings._kept) == renderings._MAX_KEPT


def test_the_heads_of_requests_are_not_kept(one):
    tracemalloc.start()
    for number in range(9):
        token = f"Bearer {number}" + "x" * 1_000_000
        one.ask("GET", "/help", headers={"Authorization": token})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 5_000_000

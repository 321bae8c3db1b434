import asyncio
import threading

import pytest

from pushgate.errors import JournalFailed
from pushgate.server.settings import Settings
from tests.server.http.asgi import Served
from tests.server.journals import ForgetfulJournal


class HeldJournal(ForgetfulJournal):
    """A journal that appends when it is let, and fails as long as it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.let = threading.Event()
        self.fails = fails

    def append(self, _steps):
        self.let.wait()
        if self.fails:
            raise JournalFailed("no space left on device")


@pytest.mark.parametrize("target", ["/-/healthy", "/-/ready"])
def test_all_is_well_with_an_idle_server(target):
    answer = Served().ask("GET", target)
    assert (answer.status, answer.text) == (200, "OK")
    assert answer.headers == {"content-type": "text/plain; charset=utf-8", "content-length": "2"}


def test_it_is_not_well_while_pushes_pile_up():
    async def scenario():
        journal = HeldJournal()
        served = Served(Settings(limit_pushes_in_flight=1), journal)
        served.gateway.start()
        push = asyncio.create_task(served.asked("PUT", "/metrics/job/j", "m 1\n"))
        await asyncio.sleep(0)
        for target in ("/-/healthy", "/-/ready"):
            answer = await served.asked("GET", target)
            assert (answer.status, answer.text) == (500, "write queue is full\n")
        journal.let.set()
        assert (await push).status == 200
        assert (await served.asked("GET", "/-/healthy")).status == 200
        await served.gateway.close()

    asyncio.run(scenario())


def test_it_is_not_ready_while_the_journal_cannot_be_written():
    async def scenario():
        journal = HeldJournal(fails=True)
        journal.let.set()
        served = Served(journal=journal)
        served.gateway.start()
        push = await served.asked("PUT", "/metrics/job/j", "m 1\n")
        assert (push.status, push.headers["retry-after"]) == (503, "5")
        assert (await served.asked("GET", "/-/ready")).status == 503
        assert (await served.asked("GET", "/-/healthy")).status == 200
        journal.fails = False
        assert (await served.asked("PUT", "/metrics/job/j", "m 1\n")).status == 200
        assert (await served.asked("GET", "/-/ready")).status == 200
        await served.gateway.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_stops_when_asked_to_if_that_is_allowed(method):
    allowed, forbidden = Served(Settings(web_enable_lifecycle=True)), Served()
    answer = allowed.ask(method, "/-/quit")
    assert (answer.status, answer.text) == (200, "Requesting termination... Goodbye!")
    assert allowed.quits == 1
    answer = forbidden.ask(method, "/-/quit")
    assert (answer.status, answer.text) == (403, "Lifecycle API is not enabled.")
    assert forbidden.quits == 0

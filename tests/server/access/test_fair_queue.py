import asyncio

import pytest
from hypothesis import given, strategies as st

from pushgate.server.access.fair_queue import FairQueue, TooManyWaiting, site_of

pytestmark = pytest.mark.anyio


class Line:
    """Requests that ask for a turn in an order, while the first one holds it."""

    def __init__(self, places: int) -> None:
        self.turns = FairQueue(places)
        self.served: list[str] = []
        self.refused: list[str] = []
        self.tasks: dict[str, asyncio.Task] = {}
        self.open = asyncio.Event()

    async def ask(self, label: str, address: str, name: str = "") -> None:
        self.tasks[label] = asyncio.create_task(self._take(label, address, name))
        await asyncio.sleep(0)

    async def _take(self, label: str, address: str, name: str) -> None:
        try:
            async with self.turns.turn(address, name):
                await self.open.wait()
                self.served.append(label)
        except TooManyWaiting:
            self.refused.append(label)

    async def end(self) -> list[str]:
        self.open.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        return self.served


async def test_one_at_a_time():
    line, at_work = FairQueue(10), 0

    async def work() -> None:
        nonlocal at_work
        async with line.turn("10.0.0.1", "alice"):
            at_work += 1
            assert at_work == 1
            await asyncio.sleep(0)
            at_work -= 1

    await asyncio.gather(*(work() for _ in range(8)))


async def test_the_newest_of_a_line_is_first_and_then_the_oldest():
    line = Line(10)
    for number in range(5):
        await line.ask(str(number), "10.0.0.1", "alice")
    assert await line.end() == ["0", "4", "1", "3", "2"]


async def test_who_guesses_again_and_again_does_not_pass_a_request_forever():
    turns, served = FairQueue(10), asyncio.Event()

    async def guess() -> None:
        while not served.is_set():
            async with turns.turn("10.0.0.1", "alice"):
                await asyncio.sleep(0)

    async def know() -> None:
        async with turns.turn("10.0.0.1", "alice"):
            served.set()

    guesses = [asyncio.create_task(guess()) for _ in range(2)]
    await asyncio.sleep(0)
    knows = asyncio.create_task(know())
    await asyncio.sleep(0)
    guesses += [asyncio.create_task(guess()) for _ in range(3)]
    async with asyncio.timeout(20):
        await asyncio.gather(knows, *guesses)


async def test_turns_go_round_by_address():
    line = Line(10)
    for number in range(4):
        await line.ask(f"a{number}", "10.0.0.1")
    await line.ask("b", "10.0.0.2")
    await line.ask("c", "10.0.0.3")
    assert await line.end() == ["a0", "a3", "b", "c", "a1", "a2"]


async def test_turns_of_an_address_go_round_by_name():
    line = Line(10)
    for number in range(4):
        await line.ask(f"eve{number}", "10.0.0.1", "eve")
    await line.ask("alice", "10.0.0.1", "alice")
    assert await line.end() == ["eve0", "eve3", "alice", "eve1", "eve2"]


async def test_the_longest_line_makes_room_for_newcomers():
    line = Line(4)
    for number in range(5):
        await line.ask(f"a{number}", "10.0.0.1", "eve")
    await line.ask("b", "10.0.0.2", "bob")
    await line.ask("alice", "10.0.0.1", "alice")
    await line.ask("a5", "10.0.0.1", "eve")
    assert await line.end() == ["a0", "a5", "b", "alice", "a4"]
    assert line.refused == ["a1", "a2", "a3"]


async def test_those_who_wait_are_not_pushed_out_by_their_equals():
    line = Line(2)
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"):
        await line.ask(address, address)
    assert line.refused == ["10.0.0.4"]
    assert await line.end() == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


async def test_who_stops_waiting_gives_back_the_place():
    line = Line(2)
    for label in ("a", "b", "c"):
        await line.ask(label, "10.0.0.1")
    line.tasks["b"].cancel()
    await asyncio.sleep(0)
    await line.ask("d", "10.0.0.1")
    assert await line.end() == ["a", "d", "c"]


async def test_a_turn_that_comes_too_late_is_passed_on():
    line = Line(3)
    for label in ("a", "b", "c"):
        await line.ask(label, "10.0.0.1")
    line.open.set()
    await asyncio.sleep(0)  # a has passed its turn on to c
    line.tasks["c"].cancel()
    assert await line.end() == ["a", "b"]
    await line.ask("d", "10.0.0.1")
    assert await line.end() == ["a", "b", "d"]


async def test_all_may_be_cancelled_at_once():
    """As at the end of the process, in the middle of a flood."""
    line = Line(10)
    for number in range(5):
        await line.ask(str(number), "10.0.0.1")
    for task in line.tasks.values():
        task.cancel()
    assert await line.end() == []
    assert all(task.cancelled() for task in line.tasks.values())
    async with line.turns.turn("10.0.0.1", ""):
        pass


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.sets(st.integers(0, 30))),
        max_size=30,
    ),
    st.integers(1, 5),
)
def test_every_request_is_served_or_refused_and_nothing_is_left(requests, places):
    async def run() -> None:
        line = Line(places)
        for number, (address, name, cancelled) in enumerate(requests):
            for label in map(str, cancelled & set(range(number))):
                line.tasks[label].cancel()
            await line.ask(str(number), address, name)
        line.open.set()
        for task in [*line.tasks.values()][::3]:
            task.cancel()  # while turns are passed on
        await line.end()
        ends = [task.exception() for task in line.tasks.values() if not task.cancelled()]
        assert ends == [None] * (len(line.served) + len(line.refused))
        assert not line.turns._lines
        assert not line.turns._waiting
        assert not line.turns._taken

    asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("/run/socket", "/run/socket"),
    ],
)
def test_an_ipv6_network_is_one_site(address, site):
    assert site_of(address) == site

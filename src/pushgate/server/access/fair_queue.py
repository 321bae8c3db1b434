"""A fair queue for work that is done for one request at a time.

In a plain queue, a hundred clients with wrong passwords would delay all others. Here turns rotate
over addresses, and within an address over user names, so a flood delays only requests that look
like it. Among those, the newest comes first, because at most one of many passwords for a user is
right, and someone who knows it is less patient than someone who guesses. Every other turn goes to
the oldest: otherwise clients that keep guessing would overtake it forever.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address

_IPV6_HOST_BITS = 64  # one network, and often one client, has all addresses that differ in these


class TooManyWaiting(Exception):
    """All places are taken, and other requests take precedence."""


class _Line(deque[asyncio.Future[None]]):
    """The requests of one name at one address, the oldest first."""

    _is_for_newest = True

    def next(self) -> asyncio.Future[None]:
        """Return whose turn it is: the newest and the oldest alternate."""
        place = self[-1] if self._is_for_newest else self[0]
        self._is_for_newest = not self._is_for_newest
        return place


class FairQueue:
    """Grants one turn at a time. At most *places* requests wait, at least one.

    When all places are taken, a new request gets that of the oldest one in the longest line of
    the address with the most waiting requests.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = False
        self._waiting = 0
        # By address and name, both in the order in which they get their next turn. No line
        # is empty, and no address is without a line.
        self._lines: dict[str, dict[str, _Line]] = {}

    @asynccontextmanager
    async def turn(self, address: str, name: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it during the body of the ``async with``.

        Raises:
            TooManyWaiting: there is no place to wait, or another request got it.
        """
        if self._taken:
            await self._wait(site_of(address), name)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, site: str, name: str) -> None:
        if self._waiting >= self._places:
            self._drop_for(site, name)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(site, {}).setdefault(name, _Line()).append(place)
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place in self._lines.get(site, {}).get(name, ()):
                self._remove(site, name, place)
            elif not place.cancelled() and place.exception() is None:
                self._pass_on()  # cancelled after the turn was granted, before it was used
            raise

    def _drop_for(self, site: str, name: str) -> None:
        """Free the oldest place in the longest line; raise if no line is longer than a new one."""
        # To lose a place, a line has to be longer by more than one. Otherwise two lines would
        # push out each other forever.
        sizes = {site: sum(map(len, lines.values())) for site, lines in self._lines.items()}
        longest = max(sizes, key=sizes.__getitem__)
        if sizes[longest] <= sizes.get(site, 0) + 1:
            longest = site
        lines = self._lines.get(longest, {})
        fullest = max(lines, key=lambda name: len(lines[name]), default=name)
        if longest == site and len(lines.get(fullest, ())) <= len(lines.get(name, ())) + 1:
            fullest = name
        if fullest not in lines:
            raise TooManyWaiting
        place = lines[fullest][0]
        self._remove(longest, fullest, place)
        if not place.done():  # a request that was just cancelled
            place.set_exception(TooManyWaiting())

    def _remove(self, site: str, name: str, place: asyncio.Future[None]) -> None:
        lines = self._lines[site]
        lines[name].remove(place)
        self._waiting -= 1
        if not lines[name]:
            del lines[name]
        if not lines:
            del self._lines[site]

    def _pass_on(self) -> None:
        while self._lines:
            site, lines = next(iter(self._lines.items()))
            name, line = next(iter(lines.items()))
            place = line.next()
            # Both move to the end of their round; _remove deletes them if they are empty.
            self._lines[site] = self._lines.pop(site)
            lines[name] = lines.pop(name)
            self._remove(site, name, place)
            if not place.done():  # else the request was just cancelled
                place.set_result(None)
                return
        self._taken = False


def site_of(address: str) -> str:
    """Return *address*, or for IPv6 its network of 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # a Unix socket
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))

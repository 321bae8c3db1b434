"""Turns at work that only one request at a time may do, shared fairly.

Without this, a hundred clients with wrong passwords would keep everybody else waiting for
bcrypt. Turns go round by address, and for each address round by user name, so a flood
delays only what looks like the flood.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address

_IPV6_HOST_BITS = 64  # a site has at least that many addresses, so they count as one


class TooManyWaiting(Exception):
    """Others of the same address and name wait already, and all places are taken."""


class Turns:
    """Grants one turn at a time. At most *places* requests wait.

    When all places are taken, a newcomer gets the place of the last one in the longest
    line: the longest line of the address that has the most requests waiting.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = False
        self._waiting = 0
        # Addresses, and names under each, in the order in which they get their next turn.
        # No line is empty, and no address is without a line.
        self._lines: dict[str, dict[str, deque[asyncio.Future[None]]]] = {}

    @asynccontextmanager
    async def turn(self, address: str, name: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the body of the ``async with``.

        Raises:
            TooManyWaiting: there is no place to wait in, or no longer.
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
        self._lines.setdefault(site, {}).setdefault(name, deque()).append(place)
        self._waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._remove(site, name, place)
            elif place.exception() is None:
                self._pass_on()  # the turn came in the same moment
            raise

    def _drop_for(self, site: str, name: str) -> None:
        """Make the longest line one shorter; raise if that is the newcomer's own."""
        sizes = {site: sum(map(len, names.values())) for site, names in self._lines.items()}
        longest = max(sizes, key=sizes.__getitem__)
        # Taking from whom has hardly more would let two newcomers push out each other.
        if sizes[longest] <= sizes.get(site, 0) + 1:
            longest = site
        lines = self._lines.get(longest, {})
        fullest = max(lines, key=lambda name: len(lines[name]), default=None)
        if fullest is None or (
            longest == site and len(lines[fullest]) <= len(lines.get(name, ())) + 1
        ):
            raise TooManyWaiting
        place = lines[fullest][-1]
        self._remove(longest, fullest, place)
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
        if not self._lines:
            self._taken = False
            return
        site, lines = next(iter(self._lines.items()))
        name, line = next(iter(lines.items()))
        place = line[0]
        # To the end, both of them, unless they are empty now.
        self._lines[site] = self._lines.pop(site)
        lines[name] = lines.pop(name)
        self._remove(site, name, place)
        place.set_result(None)


def site_of(address: str) -> str:
    """Return whom *address* belongs to: itself, or for IPv6 its network of 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address  # a Unix socket
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))

"""Search in the list of groups, and its pages."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from pushgate.server.store.group import Group
from pushgate.server.store.store import Store

PAGE = 100
"""How many groups are listed at a time."""

_MAX_QUERY_LENGTH = 200


class Search(NamedTuple):
    """A search. A group matches if each word of ``words`` occurs in one of its ``name=value``.

    Letter case and double quotes make no difference. ``page`` counts from 1.
    """

    words: str = ""
    failed: bool = False
    page: int = 1

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Search":
        """Return the search that a query string asks for; invalid parameters are ignored."""
        page = query.get("page", "")
        return cls(
            query.get("q", "")[:_MAX_QUERY_LENGTH].strip(),
            bool(query.get("failed")),
            max(1, int(page)) if page.isdecimal() and len(page) < 10 else 1,
        )

    @property
    def is_for_all(self) -> bool:
        """Whether every group matches."""
        return not self.failed and not self.words

    def matches(self, group: Group, words: list[str]) -> bool:
        """Return whether *group* is one of those; *words* are :attr:`words`, folded."""
        if self.failed and group.last_push_successful:
            return False
        if not words:
            return True
        labels = "\n".join([f"{name}={value}" for name, value in group.key.labels]).casefold()
        return all(word in labels for word in words)


class Result(NamedTuple):
    """One page of the groups that match; ``page`` of ``pages`` (at least 1)."""

    search: Search
    groups: list[Group]
    matching: int
    stored: int
    page: int
    pages: int

    def link(self, page: int) -> str:
        """Return the query string of another page of this result."""
        search = self.search
        given = {"q": search.words, "failed": search.failed and "1", "page": page > 1 and page}
        return "?" + urlencode({name: value for name, value in given.items() if value})


async def found(store: Store, search: Search) -> Result:
    """Return the page of *store* that *search* asks for; the last one if there are fewer.

    A search looks at every group, and lets other requests run in between; the list of all
    groups costs the same however many there are.
    """
    if search.is_for_all:
        pages, page = _pages(search, len(store))
        return Result(
            search, store.page((page - 1) * PAGE, PAGE), len(store), len(store), page, pages
        )
    words = search.words.replace('"', "").casefold().split()
    matching: list[Group] = []
    stored = 0
    for run in store.walk():
        matching += [group for group in run if search.matches(group, words)]
        stored += len(run)
        await asyncio.sleep(0)
    pages, page = _pages(search, len(matching))
    shown = matching[(page - 1) * PAGE : page * PAGE]
    return Result(search, shown, len(matching), stored, page, pages)


def _pages(search: Search, matching: int) -> tuple[int, int]:
    """Return how many pages there are, and the one that is shown."""
    pages = max(1, -(-matching // PAGE))
    return pages, min(search.page, pages)

import asyncio

import pytest

from pushgate.server.store.change import Fail
from pushgate.server.store.store import Store
from pushgate.server.ui.search import PAGE, Result, Search, found
from tests.server.pushes import change, key, put


def store_of(*keys) -> Store:
    store = Store()
    for one in keys:
        change(store, put(one, "m 1\n"))
    return store


def search(store: Store, **query: str) -> Result:
    return asyncio.run(found(store, Search.from_query(query)))


def jobs(result: Result) -> list[str]:
    return [group.key.job for group in result.groups]


STORE = store_of(
    key("backup", instance="db-1"),
    key("backup", instance="web"),
    key("Report", team="Data Platform"),
)


@pytest.mark.parametrize(
    ("q", "matching"),
    [
        ("", 3),
        ("backup", 2),
        ("BACKUP", 2),
        ("job=backup", 2),
        ('job="backup"', 2),
        ("ob=back instance", 2),
        ("backup web", 1),
        ("  web   backup ", 1),
        ("report", 1),
        ("team=data platform", 1),
        ("nothing", 0),
        ("webbackup", 0),
    ],
)
def test_a_group_matches_if_all_words_occur_in_its_labels(q, matching):
    result = search(STORE, q=q)
    assert (result.matching, result.stored, len(result.groups)) == (matching, 3, matching)


def test_groups_whose_last_push_failed_can_be_singled_out():
    store = store_of(key("fine"), key("failed"))
    change(store, Fail(key("failed"), 2))
    assert jobs(search(store, failed="1")) == ["failed"]
    assert jobs(search(store, failed="1", q="fine")) == []


MANY = store_of(*(key(f"job-{i:04}") for i in range(2 * PAGE + 50)))


@pytest.mark.parametrize(
    ("page", "first", "shown"),
    [
        ("1", 0, PAGE),
        ("2", PAGE, PAGE),
        ("3", 2 * PAGE, 50),
        ("4", 2 * PAGE, 50),
        ("999999999", 2 * PAGE, 50),
        ("9" * 5000, 0, PAGE),
        ("0", 0, PAGE),
        ("-1", 0, PAGE),
        ("²", 0, PAGE),
        ("x", 0, PAGE),
        ("", 0, PAGE),
    ],
)
@pytest.mark.parametrize("q", ["", "job-"])
def test_lists_a_page_of_groups_in_the_order_of_their_keys(q, page, first, shown):
    result = search(MANY, q=q, page=page)
    assert jobs(result) == [f"job-{i:04}" for i in range(first, first + shown)]
    assert (result.matching, result.pages) == (2 * PAGE + 50, 3)


def test_links_to_pages_keep_the_search():
    result = search(MANY, q='a&b "c"', failed="1", page="2")
    assert result.link(1) == "?q=a%26b+%22c%22&failed=1"
    assert search(MANY, page="2").link(3) == "?page=3"
    assert search(MANY).link(1) == "?"


def test_an_empty_store_has_one_empty_page():
    result = search(Store())
    assert (result.groups, result.page, result.pages) == ([], 1, 1)

import asyncio
from urllib.parse import parse_qsl

import pytest

from pushgate.server.store.change import Fail
from pushgate.server.store.store import Store
from pushgate.server.ui.search import PAGE, Result, Search, State, search_groups
from tests.server.pushes import change, key, put

NOW = 10**18


def store_of(*keys) -> Store:
    store = Store()
    for one in keys:
        change(store, put(one, "rows_total 1\n", NOW - 5))
    return store


def search(store: Store, **query: str) -> Result:
    return asyncio.run(search_groups(store, Search.from_query(query), NOW))


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
        ("rows_TOTAL backup", 2),
        ('{job="backup"}', 2),
        ('{job=~"b.*|Rep.*",instance!="web"}', 2),
        ('{team!=""}', 1),
        ("{}", 3),
        ("nothing", 0),
        ("webbackup", 0),
    ],
)
def test_a_group_matches_if_its_labels_match_or_all_words_occur_in_labels_and_metrics(q, matching):
    result = search(STORE, q=q)
    assert (result.matching, result.stored, len(result.groups)) == (matching, 3, matching)


def test_a_link_to_the_groups_of_a_job_finds_them_however_long_its_name_is():
    store = store_of(key("j" * 5000), key("other"))
    query = dict(parse_qsl(Search().for_label("job", "=", "j" * 5000)[1:]))
    assert jobs(search(store, **query)) == ["j" * 5000]


def test_groups_whose_last_push_failed_can_be_singled_out():
    store = store_of(key("fine"), key("failed"))
    change(store, Fail(key("failed"), NOW))
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


def test_links_keep_the_search_and_start_at_its_first_page():
    search_ = Search.from_query({"q": 'a&b "c"', "failed": "1", "page": "2", "sort": "-pushed"})
    assert search_.link(page=3) == "?q=a%26b+%22c%22&state=failed&sort=-pushed&page=3"
    assert search_.link() == "?q=a%26b+%22c%22&state=failed&sort=-pushed"
    assert search_.link(state="") == "?q=a%26b+%22c%22&sort=-pushed"
    assert search_.sorted_by("pushed") == "?q=a%26b+%22c%22&state=failed&sort=pushed"
    assert search_.sorted_by("job") == "?q=a%26b+%22c%22&state=failed"
    assert (search_.direction("pushed"), search_.direction("job")) == ("descending", None)
    assert Search().link() == "?"
    assert Search().for_label("a.b", "=", 'x"') == "?q=%7B%22a.b%22%3D%22x%5C%22%22%7D"


@pytest.mark.parametrize("age", ["1d", "90s", "1500ms", "1ns"])
def test_links_keep_the_age_exactly_because_the_page_deletes_what_they_find(age):
    search_ = Search.from_query({"older_than": age})
    assert Search.from_query(dict(parse_qsl(search_.link()[1:]))) == search_


def test_a_broken_selector_matches_nothing_and_says_why():
    result = search(STORE, q='{job=~"("}')
    assert (result.matching, result.stored) == (0, 3)
    assert "position 7" in result.error


def test_groups_are_sorted_by_any_column():
    store = Store()
    for job, series, age in (("b", 1, 10), ("a", 3, 30), ("c", 2, 20)):
        body = "".join(f'm{{i="{i}"}} 1\n' for i in range(series))
        change(store, put(key(job), body, NOW - age))
    change(store, Fail(key("c"), NOW))
    assert jobs(search(store)) == ["a", "b", "c"]
    assert jobs(search(store, sort="-job")) == ["c", "b", "a"]
    assert jobs(search(store, sort="pushed")) == ["a", "c", "b"]
    assert jobs(search(store, sort="-series")) == ["a", "c", "b"]
    assert jobs(search(store, sort="-state"))[0] == "c"
    assert jobs(search(store, sort="nonsense")) == ["a", "b", "c"]


def test_counts_are_of_all_groups_whatever_matches():
    store = store_of(key("a", instance="1"), key("a", instance="2"), key("old"))
    change(store, put(key("old"), "m 1\n", NOW - 2 * 86_400 * 10**9))
    change(store, Fail(key("a", instance="1"), NOW))
    result = search(store, q="nothing")
    assert result.counts.states == {State.OK: 2, State.FAILED: 1}
    assert (result.counts.jobs, result.counts.labels) == ({"a": 2, "old": 1}, {"instance": 2})
    assert result.counts.older == 1
    assert jobs(search(store, older_than="1d")) == ["old"]
    assert search(store, older_than="1h").counts.older == 1
    assert search(store, older_than="nonsense").matching == 3


def test_an_empty_store_has_one_empty_page():
    result = search(Store())
    assert (result.groups, result.page, result.pages) == ([], 1, 1)

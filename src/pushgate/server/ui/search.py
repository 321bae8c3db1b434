"""The search on the page of groups: which match, in which order, and counts for the filters."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from itertools import chain, islice
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlencode

from pushgate.errors import InvalidSelector
from pushgate.model.duration import format_duration, parse_duration
from pushgate.model.shape import LabelSchema
from pushgate.model.slices import PER_SLICE, Sliced, choosing, sorting
from pushgate.server.http.parameters import MAX_DURATION_LENGTH
from pushgate.server.http.slices import next_slice
from pushgate.server.http.stream import in_steps, in_thread
from pushgate.server.store.group import Group
from pushgate.server.store.rules import Rule
from pushgate.server.store.selector import MAX_LENGTH, matcher_text, parse_selector, parsing
from pushgate.server.store.store import Store
from pushgate.server.ui.values import age

PAGE = 50
"""How many groups are listed at a time."""

# A rule may have a long selector, whose link leads here. Each word is looked for in each group.
_MAX_WORDS_LENGTH = 1000
_DAY = 86_400 * 10**9


class State(StrEnum):
    """The state of a group: the worst one that applies."""

    OK = "ok"
    LATE = "late"
    FAILED = "failed"
    EXPIRED = "expired"


def state_of(group: Group, rule: Rule, now: int) -> State:
    """Return the state of *group* at *now*, under the *rule* for it."""
    # Called for every group: what is rarely true is asked first, without calls.
    if group.failed_at > group.pushed_at:
        return State.FAILED
    if rule.ttl and not group.blocks and group.pushed_at + rule.ttl <= now:
        return State.EXPIRED
    return State.LATE if rule.expect_every and rule.is_late(group, now) else State.OK


_SEVERITY: Final = {state: rank for rank, state in enumerate(State)}
_SORTS: Final[Mapping[str, Callable[[Group, State, str], Any]]] = {
    "job": lambda _group, _state, job: job,
    "pushed": lambda group, _state, _job: group.pushed_at,
    "series": lambda group, _state, _job: group.series,
    "state": lambda _group, state, _job: _SEVERITY[state],
}


class Search(NamedTuple):
    """A search, as the query string of the page writes it.

    ``text`` is a selector if it begins with a brace. Otherwise a group matches if each word
    occurs in one of its ``name=value`` or in the name of a metric; letter case and double
    quotes make no difference. ``older_than`` is in nanoseconds, 0 for any age. ``page``
    counts from 1.
    """

    text: str = ""
    state: str = ""
    older_than: int = 0
    sort: str = "job"
    is_descending: bool = False
    page: int = 1

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Search":
        """Return the search that a query string asks for; invalid parameters are ignored."""
        page, sort = query.get("page", ""), query.get("sort", "")
        text = query.get("q", "").strip()
        length = MAX_LENGTH if text.startswith("{") else _MAX_WORDS_LENGTH
        try:
            older_than = parse_duration(query.get("older_than", "")[:MAX_DURATION_LENGTH] or "0")
        except ValueError:
            older_than = 0
        state = "failed" if query.get("failed") else query.get("state", "")
        return cls(
            text[:length],
            state if state in [*State] else "",
            older_than,
            sort.removeprefix("-") if sort.removeprefix("-") in _SORTS else "job",
            sort.startswith("-"),
            # int() takes long for a text of thousands of digits.
            max(1, int(page)) if page.isdecimal() and len(page) < 10 else 1,
        )

    @property
    def is_for_all(self) -> bool:
        """Whether every group matches."""
        return not (self.text or self.state or self.older_than)

    @property
    def is_slow(self) -> bool:
        """Whether it has a regular expression that may take long, or may have very many."""
        if len(self.text) > _MAX_WORDS_LENGTH:
            return True
        with suppress(InvalidSelector):
            return self.text.startswith("{") and parse_selector(self.text).is_slow
        return False

    @property
    def query(self) -> dict[str, object]:
        """The parameters of its query string."""
        order = ("-" if self.is_descending else "") + self.sort
        given = {
            "q": self.text,
            "state": self.state,
            "older_than": self.older_than and format_duration(self.older_than),
            "sort": order != "job" and order,
            "page": self.page > 1 and self.page,
        }
        return {name: value for name, value in given.items() if value}

    def link(self, **changed: object) -> str:
        """Return the query string of this search with fields *changed*, by default on page 1."""
        search = self._replace(**{"page": 1, **changed})  # type: ignore[arg-type]
        return "?" + urlencode(search.query, errors="surrogateescape")

    @property
    def age(self) -> str:
        """The age that :attr:`older_than` asks for, or would: ``1 d``."""
        return age(self.older_than or _DAY)

    def for_label(self, name: str, operator: str, value: str) -> str:
        """Return the query string of a search for groups by one label."""
        return self.link(text=f"{{{matcher_text(name, operator, value)}}}")

    def sorted_by(self, sort: str) -> str:
        """Return the query string of this search sorted by *sort*, reversed if it already is."""
        return self.link(sort=sort, is_descending=self.sort == sort and not self.is_descending)

    def direction(self, sort: str) -> str | None:
        """Return the ``aria-sort`` of the column *sort*; None if another one is sorted by."""
        if sort != self.sort:
            return None
        return "descending" if self.is_descending else "ascending"


class Counts(NamedTuple):
    """Counts of all groups. ``labels`` counts the names of labels except ``job``."""

    states: Counter[State]
    jobs: Counter[str]
    labels: Counter[str]
    older: int


class Result(NamedTuple):
    """One page of the groups that match; ``page`` of ``pages`` (at least 1).

    If the text of the search is an invalid selector, nothing matches and ``error`` says why.
    """

    search: Search
    groups: list[Group]
    matching: int
    stored: int
    counts: Counts
    page: int
    pages: int
    error: str = ""

    @property
    def first(self) -> int:
        """The number of the first group on this page."""
        return (self.page - 1) * PAGE + 1


async def search_groups(store: Store, search: Search, now: int) -> Result:
    """Return the page of *store* that *search* asks for at *now*; the last if there are fewer.

    Looks at every group, and lets other requests run in between.
    """
    matching, counts, error = await matching_groups(store, search, now)
    number = sum(map(len, matching.values()))
    pages = max(1, -(-number // PAGE))
    page = min(search.page, pages)
    order = await in_steps(sorting([*matching], key=lambda value: value))
    if search.is_descending:
        order.reverse()
    ordered = chain.from_iterable(matching[value] for value in order)
    shown = [*islice(ordered, (page - 1) * PAGE, page * PAGE)]
    return Result(search, shown, number, len(store), counts, page, pages, error)


Matching: TypeAlias = dict[Any, list[Group]]
"""Groups by the value they are sorted by; those of one value in the order of their keys."""

_Row: TypeAlias = tuple[Group, State, str]
_Accepts: TypeAlias = Callable[[_Row], bool]
_Take: TypeAlias = Callable[[Sliced[list[_Row]]], Awaitable[list[_Row]]]


async def matching_groups(store: Store, search: Search, now: int) -> tuple[Matching, Counts, str]:
    """Return the groups that match *search*, counts of all groups, and the error if any."""
    error = ""
    accepts: _Accepts | None = None
    take: _Take = in_steps
    try:
        if search.text:
            accepts, take = await _accepting(search.text)
    except InvalidSelector as invalid:
        error = str(invalid)
    counts = Counts(Counter(), Counter(), Counter(), 0)
    names: Counter[tuple[str, ...]] = Counter()
    matching: Matching = defaultdict(list)
    old_before, older = now - (search.older_than or _DAY), 0
    value_of = _SORTS[search.sort]
    # Conditions that are not there cost nothing: a store may have a million groups.
    rule_of = store.rule if store.rules.rules else None
    default = store.rules.default
    for run in store.walk():
        states = [state_of(group, rule_of(group.key) if rule_of else default, now) for group in run]
        jobs = [group.key.job for group in run]
        counts.states.update(states)
        counts.jobs.update(jobs)
        names.update([group.key.names for group in run])
        older += sum([group.last_pushed < old_before for group in run])
        # Lazily: to keep a tuple for each group costs a fifth more, in the garbage collector.
        rows: Iterable[_Row] = zip(run, states, jobs, strict=True)
        if search.state:
            rows = [row for row in rows if row[1] == search.state]
        if search.older_than:
            rows = [row for row in rows if row[0].last_pushed < old_before]
        if accepts:
            rows = await take(choosing(rows, accepts))
        for group, state, job in rows:
            matching[value_of(group, state, job)].append(group)
        await next_slice()
    labels = await _each_name(names)
    del labels["job"]
    counts = counts._replace(labels=labels, older=older)
    return ({} if error else matching), counts, error


async def _each_name(sets: Counter[tuple[str, ...]]) -> Counter[str]:
    """Return how often each name occurs in *sets* of names."""
    counts: Counter[str] = Counter()
    # Nearly as many sets of label names as groups, if somebody means harm.
    for number, (names, count) in enumerate(sets.items()):
        if number % PER_SLICE == 0:
            await next_slice()
        for name in names:
            counts[name] += count
    return counts


async def _accepting(text: str) -> tuple[_Accepts, _Take]:
    """Return the condition that the *text* of a search is, and how to apply it to groups.

    Raises:
        InvalidSelector: it begins like a selector, and is none.
    """
    if text.startswith("{"):
        selector = await in_steps(parsing(text))
        take = in_thread if selector.is_slow else in_steps
        return (lambda row: selector.matches(row[0].key.labels)), take
    words = _Words(text.replace('"', "").casefold().split())
    return (lambda row: words.match(row[0])), in_steps


class _Words:
    """Whether a group matches words. Many groups share the names of their metrics."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._named: dict[tuple[LabelSchema, str], frozenset[str]] = {}

    def match(self, group: Group) -> bool:
        """Return whether each word is in the name of a metric, or in a label."""
        labels = ""
        for word in self._words:
            if any(
                self._metrics(block.pushed.shape.label_schema, word) - block.dropped
                for block in group.blocks
            ):
                continue
            labels = labels or "\n".join(map("=".join, group.key.labels)).casefold()
            if word not in labels:
                return False
        return True

    def _metrics(self, label_schema: LabelSchema, word: str) -> frozenset[str]:
        """Return the names of *label_schema* that have *word* in them."""
        found = self._named.get((label_schema, word))
        if found is None:
            found = frozenset(name for name in label_schema.names if word in name.casefold())
            self._named[label_schema, word] = found
        return found

"""All changes once more, in the order of the database, on a single store in memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pushgate.errors import InconsistentPush, InvalidPush
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.encoding import Encoding
from pushgate.model.names import Escaping, NameRule
from pushgate.model.slices import finished
from pushgate.server.exposition.cache import Exposition
from pushgate.server.exposition.view import TextView
from pushgate.server.rules import parse
from pushgate.server.store.change import Delete, Fail, Merge, Push, Replace, Update
from pushgate.server.store.rules import Rules
from pushgate.server.store.store import Store
from tests.replicas.load import RULES, Request
from tests.server.pushes import change, key

_CHANGES = {"PUT": Replace, "POST": Merge, "PATCH": Update}
_DECODER = PushDecoder(NameRule.LEGACY)


class Entry(NamedTuple):
    """A change in its place in the order: a push by its name, a deletion by its job.

    ``wrong`` is empty, or the name of the error with which the replica refused it.
    """

    kind: str
    whose: str
    time: int
    wrong: str


class Replay(NamedTuple):
    """What a single server would have done: its store, and which verdicts were different."""

    store: Store
    differences: list[str]


def replayed(trace: Iterable[Entry], requests: Sequence[Request]) -> Replay:
    """Return what a single store makes of *trace*, the pushes of which are *requests*."""
    store = Store(rules=Rules(parse(RULES.encode())))
    by_name = {request.name: request for request in requests}
    differences = []
    for entry in trace:
        if entry.kind == "Delete":
            change(store, Delete(key(entry.whose)))
            continue
        request = by_name[entry.whose]
        wrong = _refusal(store, _push(request, entry.time))
        if wrong != entry.wrong:
            differences.append(f"{request}: {entry.wrong or 'taken'}, replayed {wrong or 'taken'}")
    return Replay(store, differences)


def objections(trace: Sequence[Entry], requests: Sequence[Request]) -> Iterator[str]:
    """Yield in what the answers that clients got differ from *trace*."""
    taken = Counter(entry.whose for entry in trace if not entry.wrong and entry.kind != "Delete")
    refused = Counter(entry.whose for entry in trace if entry.wrong)
    for request in requests:
        if request.method == "DELETE":
            continue
        found = (taken[request.name], refused[request.name])
        # Each attempt may take place; only the first of those that add up has an effect.
        most = len(request.statuses) if request.once else 1
        if request.status == 200 and not 1 <= found[0] <= most:
            yield f"{request} was acknowledged, and taken {found[0]} times"
        elif request.status == 400 and found != (0, int(_is_readable(request))):
            yield f"{request} was refused, and (taken, refused) {found} times"
        elif request.status != 200 and not request.may_be_stored and found[0]:
            yield f"{request} was not stored, but taken {found[0]} times"
        elif sum(found) > most:
            yield f"{request} took place {found} times"


def reversals(trace: Iterable[Entry], requests: Sequence[Request]) -> Iterator[str]:
    """Yield pushes that stand in *trace* before one that was answered before they began."""
    by_name = {request.name: request for request in requests}
    last = None
    for entry in trace:
        request = by_name.get(entry.whose)
        if request is None or len(request.statuses) > 1:
            continue
        if last is not None and request.status == 200 and request.ended < last.began:
            yield f"{last} stands before {request}"
        if last is None or request.began > last.began:
            last = request


def shown(store: Store) -> str:
    """Return the exposition of *store*."""
    view = TextView(Escaping.UNDERSCORES)
    return b"".join(finished(Exposition(store, view, Encoding()).scrape())).decode()


def _push(request: Request, time: int) -> Push:
    pushed = _DECODER.read(request.body, b"", b"")
    return _CHANGES[request.method](key(request.job), pushed, time, once=request.digest)


def _refusal(store: Store, push: Push) -> str:
    try:
        change(store, push)
    except InconsistentPush as error:
        change(store, Fail(push.key, push.time))
        return type(error).__name__
    return ""


def _is_readable(request: Request) -> bool:
    try:
        _push(request, 0)
    except InvalidPush:
        return False
    return True

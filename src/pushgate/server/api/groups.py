"""The groups that match, listed and deleted at ``/api/v1/groups``, and the deletion of all."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Final

from starlette.types import ASGIApp, Scope

from pushgate.errors import InvalidParameter, StaleCopy
from pushgate.model import slices
from pushgate.model.slices import sorting
from pushgate.server.access.config import Permission
from pushgate.server.api.responses import JSON, encoded, encoded_in_pieces
from pushgate.server.http.context import AppContext
from pushgate.server.http.families import local_time
from pushgate.server.http.parameters import Parameters
from pushgate.server.http.responses import Response
from pushgate.server.http.routes import Endpoint
from pushgate.server.http.slices import next_slice
from pushgate.server.http.stream import Stream, in_steps, select_groups
from pushgate.server.store.change import DeleteAll
from pushgate.server.store.group import Group
from pushgate.server.store.rules import Rule
from pushgate.server.store.selection import Selection
from pushgate.server.store.store import Store

_CONDITIONS = ("match[]", "failed", "older_than")
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_OFFSET: Final = 10**9  # more than there can be groups
_UNKNOWN = "the database does not answer: it is unknown which groups there are, and none is deleted"
_ORDERS: Final[Mapping[str, Callable[[Group], int]]] = {
    "push_time": lambda group: group.pushed_at,
    "failure_time": lambda group: group.failed_at,
    "series": lambda group: group.series,
    "families": lambda group: group.families,
}
SORTS: Final = ("labels", "-labels", *_ORDERS, *(f"-{name}" for name in _ORDERS))


def _refusing_in_json(endpoint: Endpoint) -> Endpoint:
    """Return *endpoint* with errors of parameters in the format of Prometheus' API."""

    @wraps(endpoint)
    async def answering(context: AppContext, scope: Scope) -> ASGIApp:
        try:
            return await endpoint(context, scope)
        except InvalidParameter as error:
            said = {"status": "error", "errorType": "bad_data", "error": str(error)}
            return Response(400, encoded(said), JSON)

    return answering


@_refusing_in_json
async def list_groups(context: AppContext, scope: Scope) -> ASGIApp:
    """Answer with a page of the groups that meet the conditions in the query."""
    given = Parameters(scope)
    given.only((*_CONDITIONS, "sort", "limit", "offset"))
    selection = await _selection(given)
    sort = given.choice("sort", SORTS) or "labels"
    limit = given.number("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    offset = given.number("offset", 0, least=0, most=MAX_OFFSET)
    groups = await select_groups(selection, context.gateway.store)
    if order := _ORDERS.get(sort.removeprefix("-")):  # they come in the order of their labels
        groups = await in_steps(sorting(groups, order))
    if sort.startswith("-"):
        groups = groups[::-1]
    page = groups[offset : offset + limit]
    return Stream(_pieces(page, {"total": len(groups)}, context.gateway.store), JSON)


@_refusing_in_json
async def delete_groups(context: AppContext, scope: Scope) -> ASGIApp:
    """Delete the groups that meet the conditions in the query, and list them.

    A group that receives a push in the meantime is kept.
    """
    given = Parameters(scope)
    given.only((*_CONDITIONS, "dry_run"))
    selection = await _selection(given)
    is_dry_run = given.boolean("dry_run") or False
    has_matchers = selection.selectors and all(s.matchers for s in selection.selectors)
    if selection.before is None and not has_matchers:
        reason = "a selector with a matcher, or older_than, must say which groups to delete"
        raise InvalidParameter("match[]", reason)
    # What another server has pushed in the meantime may decide which groups are old.
    if await context.gateway.caught_up() and not is_dry_run:
        raise StaleCopy(_UNKNOWN)
    await next_slice()  # many such requests may come at once
    store = context.gateway.store
    groups = await select_groups(selection, store)
    jobs = {*(await in_steps(slices.listing(group.key.job for group in groups)))}
    if refusal := await context.refusal(scope, Permission.DELETE, jobs):
        return refusal
    if not is_dry_run and groups:
        await context.gateway.apply(DeleteAll(groups))
        groups = await in_steps(slices.listing(group for group in groups if _is_gone(store, group)))
    head = {"total": len(groups), "dry_run": is_dry_run}
    return Stream(_pieces(groups, head, store), JSON)


async def wipe(context: AppContext, _scope: Scope) -> ASGIApp:
    """Delete all groups that there are, and answer once they are gone.

    A push waits for some hundreds of them at most, and the group that it is for is kept.
    """
    if await context.gateway.caught_up():
        raise StaleCopy(_UNKNOWN)
    for run in context.gateway.store.runs():
        await next_slice()  # in memory, a deletion may be done at once
        await context.gateway.apply(DeleteAll(run.groups()))
    return Response(202)


def _is_gone(store: Store, group: Group) -> bool:
    """Return whether *group* was deleted, even if there is a new group with its key."""
    now = store.get(group.key)
    return now is None or now.since > group.since


async def _selection(given: Parameters) -> Selection:
    age = given.duration("older_than")
    before = None if age is None else time.time_ns() - age
    return Selection(await given.selectors(), given.boolean("failed"), before)


def _pieces(groups: Sequence[Group], head: Mapping[str, Any], store: Store) -> Iterator[bytes]:
    """Yield the body of a response: *head*, and the list of *groups*."""
    yield b'{"status":"success","data":' + encoded(head)[:-1] + b',"groups":'
    now = time.time_ns()
    entries = (_entry(group, store.rule(group.key), now) for group in groups)
    yield from encoded_in_pieces(entries, list, 1)
    yield b"}}"


def _entry(group: Group, rule: Rule, now: int) -> dict[str, Any]:
    return {
        "labels": dict(group.key.labels),
        "push_time": _written(group.pushed_at),
        "failure_time": _written(group.failed_at),
        "expires_at": _written(rule.expires_at(group)),
        "expected_interval_seconds": rule.expect_every / 1e9 or None,
        "late": rule.is_late(group, now),
        "last_push_successful": group.last_push_successful,
        "last_failure": group.failure and group.failure._asdict(),
        "series": group.series,
        "families": group.families,
    }


def _written(time: int | None) -> str | None:
    """Return *time* as the API writes it. None and 0 stand for never."""
    return local_time(time) if time else None

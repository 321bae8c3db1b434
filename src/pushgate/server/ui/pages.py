"""The pages of the web interface, and its static files."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote
from zlib import compressobj

import orjson
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from pushgate.formats.negotiation import accepted_encoding
from pushgate.model.quoting import legible
from pushgate.server.access.config import Permission
from pushgate.server.http.context import AppContext
from pushgate.server.http.families import held_bytes
from pushgate.server.http.parameters import query_parameters
from pushgate.server.http.push_path import path_of
from pushgate.server.http.renderings import Render
from pushgate.server.http.request import find_header
from pushgate.server.http.responses import NOT_FOUND, Response
from pushgate.server.http.routes import Endpoint
from pushgate.server.http.stream import Stream, in_steps
from pushgate.server.http.usage import base_url
from pushgate.server.settings import Settings
from pushgate.server.store.group import Group
from pushgate.server.store.selector import MAX_LENGTH
from pushgate.server.ui import status as status_
from pushgate.server.ui.families import MAX_ROWS, family_cards
from pushgate.server.ui.groups import (
    STATE_WORDS,
    group_row,
    history,
    key_of,
    rhythm,
    selector,
    snippets,
    title,
)
from pushgate.server.ui.search import Search, matching_groups, search_groups
from pushgate.server.ui.values import age, moment
from pushgate.server.version import BUILD

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).parent
_FILES: Final = StaticFiles(directory=_HERE / "static")
_FILE_NAMES: Final = frozenset(path.name for path in (_HERE / "static").iterdir())
_compiled: Final[dict[str, "Template"]] = {}

# Label values and help texts come from strangers. Even if one got through the escaping, nothing
# inline runs, nothing is loaded from elsewhere, and no other site can show the page in a frame.
_CSP = b"content-security-policy"
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"referrer-policy", b"same-origin"),
    (b"vary", b"accept-encoding"),
)
_GZIP: Final = (b"content-encoding", b"gzip")
# As the Go server names them, whatever the machine's mime.types says.
_MEDIA_TYPES: Final = {".css": "text/css", ".js": "application/javascript", ".svg": "image/svg+xml"}
_MAX_PARAMETERS = 16
_MAX_ETAGS_BYTES = 1000
_MAX_DELETED = 1000
_MAX_CHIP = 80
_MAX_FACETS = 10
_MAX_FACET = 1000  # characters: a link repeats the name, and escapes each of them twice
_MAX_VALUE = 4000
_AGES_SECONDS = 10

_Render: TypeAlias = Callable[[AppContext, Scope], Awaitable[Iterator[str]]]


def _shared(
    version: Callable[[AppContext], Hashable],
    is_slow: Callable[[Scope], bool] = lambda _scope: False,
) -> Callable[[_Render], Endpoint]:
    """Turn a function that renders a page into an endpoint that shares renderings.

    *version* and *is_slow* are for :meth:`Renderings.share`.
    """

    def endpoint(render: _Render) -> Endpoint:
        async def answer(context: AppContext, scope: Scope) -> ASGIApp:
            return await context.renderings.share(
                _packed(partial(render, context, scope), scope),
                partial(version, context),
                _headers(context, scope),
                scope,
                is_slow=partial(is_slow, scope),
            )

        return answer

    return endpoint


def _version(context: AppContext) -> Hashable:
    """Return a value that changes whenever pages about the groups do."""
    revision = context.gateway.store.revision
    return revision, context.live.access, context.live_rules.error, _ages()


def _ages() -> int:
    """Return a value that changes with the ages on a page. Browsers update those in between."""
    return int(time.time() // _AGES_SECONDS)


@_shared(_version, is_slow=lambda scope: Search.from_query(_query(scope)).is_slow)
async def groups(context: AppContext, scope: Scope) -> Iterator[str]:
    """Answer with one page of the groups that match the query, see :class:`Search`."""
    now = time.time_ns()
    store, settings = context.gateway.store, context.settings
    result = await search_groups(store, Search.from_query(_query(scope)), now)
    jobs = {group.key.job for group in result.groups}
    may_delete = await _permitted(context, scope, jobs, Permission.DELETE)
    may_wipe = settings.web_enable_admin_api and await _permitted(
        context, scope, [None], Permission.ADMIN
    )
    rows = (
        group_row(
            group,
            store.rule(group.key),
            settings,
            now,
            may_delete=group.key.job in may_delete,
            most=_MAX_CHIP,
        )
        for group in result.groups
    )
    return await _page(
        "groups",
        context,
        ".",
        result=result,
        rows=rows,
        jobs=[
            (job, count)
            for job, count in result.counts.jobs.most_common(_MAX_FACETS)
            if len(job) <= _MAX_FACET
        ],
        labels=result.counts.labels.most_common(_MAX_FACETS),
        series=store.series,
        may_wipe=may_wipe,
        may_delete_these=0 < result.matching <= _MAX_DELETED
        and not result.search.is_for_all
        and may_delete == jobs,
    )


async def deletable_groups(context: AppContext, scope: Scope) -> ASGIApp:
    """Answer with the groups that match the query as JSON: a name and a path to delete each.

    The page names them before it deletes them, one by one, so that nothing else is deleted.
    """
    search = Search.from_query(_query(scope))
    matching, _, _ = await matching_groups(context.gateway.store, search, time.time_ns())
    some = [*islice(chain.from_iterable(matching.values()), _MAX_DELETED)]
    jobs = [group.key.job for group in some]
    may_delete = await _permitted(context, scope, jobs, Permission.DELETE)
    shown = (group for group in some if group.key.job in may_delete)
    headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
    return Stream(_named(shown, context.settings), headers)


def _named(groups: Iterable[Group], settings: Settings) -> Iterator[bytes]:
    """Yield the answer of :func:`deletable_groups`, in pieces."""
    yield b'{"groups":['
    separator = b""
    for group in groups:
        if path := path_of(group.key, settings):
            name = legible(selector(group.key)[:_MAX_VALUE])
            yield separator + orjson.dumps({"name": name, "path": path})
            separator = b","
    yield b"]}"


def job_in_path(_context: AppContext, scope: Scope) -> str | None:
    """Return the job of the group in the path; None if the path names no group."""
    key = key_of(scope["path_params"]["id"])
    return dict(key.labels).get("job") if key else None


async def group(context: AppContext, scope: Scope) -> ASGIApp:
    """Answer with one group and its families: 500 metrics of each, or every one with ``all``."""
    key = key_of(scope["path_params"]["id"])
    shown = context.gateway.store.get(key) if key else None
    if shown is None:
        return await missing(context, scope, up="../..", what="group")
    version = (shown.pushed_at, shown.failed_at, len(shown.blocks), context.gateway.store.rules)
    packed = _packed(partial(_group, context, scope, shown), scope)

    async def render() -> Iterator[bytes]:
        return context.slow_readers.holding(await packed(), held_bytes(shown))

    return await context.renderings.stream(
        render, (*version, context.live.access, _ages()), _headers(context, scope), scope
    )


async def _group(context: AppContext, scope: Scope, shown: Group) -> Iterator[str]:
    settings, now = context.settings, time.time_ns()
    rule = context.gateway.store.rule(shown.key)
    may_delete = await _permitted(context, scope, [shown.key.job], Permission.DELETE)
    row = group_row(shown, rule, settings, now, may_delete=bool(may_delete), most=0)
    expires_at = rule.expires_at(shown)
    chosen = quote(row.selector, errors="surrogateescape")
    max_rows = None if "all" in _query(scope) else MAX_ROWS
    return await _page(
        "group",
        context,
        "../..",
        short_name=title(shown),
        row=row,
        rhythm=rhythm(shown.attempts)[1],
        history=history(shown.attempts, now),
        snippets=snippets(shown, rule, settings, base_url(scope, settings)),
        failure=moment(shown.failed_at, now) if shown.failed_at else None,
        due=moment(shown.pushed_at + rule.expect_every, now).full if rule.expect_every else "",
        expires=f"in {age(expires_at - now)}" if expires_at else "",
        raw=f"{_telemetry(settings)}?match[]={chosen}",
        families=await in_steps(family_cards(shown, settings, now, max_rows=max_rows)),
    )


# It changes all the time, so no version of it can be the same.
@_shared(lambda _context: None)
async def status(context: AppContext, _scope: Scope) -> Iterator[str]:
    """Answer with the status page: storage, traffic, refused pushes, limits and flags."""
    return await _page("status", context, ".", **await status_.status(context, time.time_ns()))


@_shared(_version)
async def rules(context: AppContext, _scope: Scope) -> Iterator[str]:
    """Answer with the rules in force, and the groups that each applies to."""
    return await _page("rules", context, ".", **await status_.rules(context, time.time_ns()))


@_shared(lambda context: context.live.access)
async def help(context: AppContext, scope: Scope) -> Iterator[str]:  # noqa: A001 - the page is called so
    """Answer with instructions to push to this gateway and to scrape it."""
    settings = context.settings
    url = base_url(scope, settings)
    scheme, _, address = url.partition("://")
    return await _page(
        "help",
        context,
        ".",
        url=url,
        scheme=scheme,
        address=address,
        host=address.partition("/")[0],
        path=settings.external_prefix + _telemetry(settings),
    )


async def missing(
    context: AppContext, scope: Scope, *, up: str = "", what: str = "page"
) -> ASGIApp:
    """Answer with 404: a page for browsers, a line of text for everything else."""
    if b"text/html" not in find_header(scope["headers"], b"accept"):
        return NOT_FOUND
    below = scope["path"].removeprefix(context.settings.route_prefix)
    # Relative: only the browser knows the prefix that a proxy may add.
    up = up or "/".join([".", *[".."] * (below.count("/") - 1)])
    body = "".join(await _page("missing", context, up, what=what))
    return Response(404, body.encode(), _headers(context))


async def static(_context: AppContext, scope: Scope) -> ASGIApp:
    """Answer with the file that the path names."""
    name = scope["path_params"]["name"]
    if name not in _FILE_NAMES:
        return NOT_FOUND
    # Starlette takes long for many entity tags. Without them, the answer is the file.
    if len(find_header(scope["headers"], b"if-none-match")) > _MAX_ETAGS_BYTES:
        kept = [header for header in scope["headers"] if header[0] != b"if-none-match"]
        scope = {**scope, "headers": kept}
    # In an event loop of its own, because the first answer imports a lot, on whichever loop.
    response = await asyncio.to_thread(asyncio.run, _FILES.get_response(name, scope))
    # Kept, but checked by ETag each time: after an upgrade, pages and scripts must fit together.
    response.headers["cache-control"] = "no-cache"
    if response.status_code in (200, 206):
        response.headers["content-type"] = _MEDIA_TYPES[PurePosixPath(name).suffix]
    return response


async def _permitted(
    context: AppContext, scope: Scope, jobs: Iterable[str | None], permission: Permission
) -> frozenset[str | None]:
    """Return those of *jobs* for which the reader has *permission*; None stands for all."""
    return frozenset(
        [job for job in {*jobs} if not await context.refusal(scope, permission, [job])]
    )


def _query(scope: Scope) -> dict[str, str]:
    try:
        return dict(query_parameters(scope, _MAX_PARAMETERS))
    except ValueError:  # more parameters than any page sends
        return {}


async def _page(name: str, context: AppContext, up: str, **shown: Any) -> Iterator[str]:
    """Return a page; *up* is the relative URL of the route prefix, used without an external URL."""
    # To compile them takes too long for the event loop, and would delay every start.
    if not _compiled:
        _compiled.update(await asyncio.to_thread(_all_templates))
    settings = context.settings
    base = settings.external_prefix or up
    return _compiled[f"{name}.html"].generate(
        base=base,
        metrics=base + _telemetry(settings),
        version=BUILD.version,
        now=time.time_ns() // 10**6,
        **shown,
    )


def _telemetry(settings: Settings) -> str:
    """Return the path of the exposition below the route prefix."""
    return settings.telemetry_path.removeprefix(settings.route_prefix)


def _all_templates() -> dict[str, "Template"]:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    templates.filters |= {"number": "{:,}".format, "age": age}
    templates.globals["words"] = STATE_WORDS
    templates.globals["max_length"] = MAX_LENGTH
    return {name: templates.get_template(name) for name in templates.list_templates()}


def _packed(render: Callable[[], Awaitable[Iterator[str]]], scope: Scope) -> Render:
    """Return *render* with its pieces encoded, and compressed if the browser accepts that."""

    async def packed() -> Iterator[bytes]:
        # Help texts need not be UTF-8.
        pieces = (piece.encode(errors="replace") for piece in await render())
        return _compressed(pieces) if accepted_encoding(scope["headers"]) == "gzip" else pieces

    return packed


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = compressobj(5, wbits=31)  # 15 bits of window, and 16 for gzip's header and trailer
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _headers(context: AppContext, scope: Scope | None = None) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of a page. A policy in the web configuration replaces the default."""
    configured = [name.lower() for name, _ in context.live.access.headers]
    policy = () if _CSP in configured else ((_CSP, _POLICY),)
    packing = (_GZIP,) if scope and accepted_encoding(scope["headers"]) == "gzip" else ()
    return *_HEADERS, *policy, *packing

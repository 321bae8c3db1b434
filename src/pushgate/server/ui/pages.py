"""The pages of the web interface, and its static files."""

import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pushgate.server.http.context import AppContext
from pushgate.server.http.families import local_time
from pushgate.server.http.responses import NOT_FOUND, Headers
from pushgate.server.http.stream import in_steps, stream
from pushgate.server.ui.cards import MAX_ROWS, family_cards, group_card, key_of
from pushgate.server.ui.search import Search, found
from pushgate.server.version import BUILD

_HERE = Path(__file__).parent
_FILES: Final = StaticFiles(directory=_HERE / "static")
_FILE_NAMES: Final = frozenset(path.name for path in (_HERE / "static").iterdir())
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_GROUPS, _GROUP, _STATUS = map(
    _templates.get_template, ("groups.html", "group.html", "status.html")
)

_CSP = b"content-security-policy"
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"referrer-policy", b"same-origin"),
)
# As the Go server names them, whatever the machine's mime.types says.
_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".js": "application/javascript",
    ".svg": "image/svg+xml",
}
_MAX_PARAMETERS = 16


async def groups(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with one page of the groups that match the query: ``q``, ``failed``, ``page``."""
    now = time.time_ns()
    result = await found(context.gateway.store, Search.from_query(_query(scope)))
    cards = (group_card(group, context.settings, now) for group in result.groups)
    pieces = _page(_GROUPS, context, ".", tab="groups", result=result, cards=cards)
    await stream(pieces, _headers(context), scope, receive, send)


def job_of(_context: AppContext, scope: Scope) -> str | None:
    """Return the job of the group in the path; None if the path names no group."""
    key = key_of(scope["path_params"]["id"])
    return dict(key.labels).get("job") if key else None


async def group(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with one group and its families: 500 metrics of each, or every one with ``all``."""
    key = key_of(scope["path_params"]["id"])
    shown = context.gateway.store.get(key) if key else None
    if shown is None:
        await NOT_FOUND(scope, receive, send)
        return
    max_rows = None if "all" in _query(scope) else MAX_ROWS
    cards = family_cards(shown, context.settings, max_rows=max_rows)
    pieces = _page(
        _GROUP,
        context,
        "../..",
        tab="groups",
        card=group_card(shown, context.settings, time.time_ns()),
        families=await in_steps(cards),
    )
    await stream(pieces, _headers(context), scope, receive, send)


async def status(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with version, flags, and the numbers of groups and series."""
    store = context.gateway.store
    tables = {
        "Runtime Information": {
            "Started": local_time(context.started // 10**9 * 10**9),
            "Groups": f"{len(store):,}",
            "Series": f"{store.series:,}",
            "Journal": "in memory only"
            if not context.gateway.is_durable
            else ("ready" if context.gateway.is_ready else "cannot be written, see the log"),
        },
        "Build Information": {
            "version": BUILD.version,
            "branch": BUILD.branch,
            "revision": BUILD.revision,
            "tags": BUILD.tags,
            "python": BUILD.python,
            "platform": BUILD.platform,
        },
        "Startup Flags": context.settings.rows(),
    }
    pieces = _page(_STATUS, context, ".", tab="status", tables=tables)
    await stream(pieces, _headers(context), scope, receive, send)


async def static(_context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the file that the path names."""
    name = scope["path_params"]["name"]
    if name not in _FILE_NAMES:
        await NOT_FOUND(scope, receive, send)
        return
    response = await _FILES.get_response(name, scope)
    if response.status_code in (200, 206):
        response.headers["content-type"] = _MEDIA_TYPES[PurePosixPath(name).suffix]
    await response(scope, receive, send)


def _query(scope: Scope) -> dict[str, str]:
    query = scope["query_string"].decode("latin-1")
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
    except ValueError:  # more parameters than any page sends
        return {}


def _page(template: Template, context: AppContext, up: str, **shown: Any) -> Iterator[bytes]:
    """Yield a page; *up* is the relative URL of the route prefix, used without an external URL."""
    settings = context.settings
    base = settings.external_prefix or up
    pieces = template.generate(
        base=base,
        metrics=base + settings.telemetry_path.removeprefix(settings.route_prefix),
        version=BUILD.version,
        may_wipe=settings.web_enable_admin_api,
        **shown,
    )
    # Help texts need not be UTF-8.
    return (piece.encode(errors="replace") for piece in pieces)


def _headers(context: AppContext) -> Headers:
    """Return the headers of a page. A policy in the web configuration replaces the default."""
    if any(name.lower() == _CSP for name, _ in context.live.access.headers):
        return _HEADERS
    return (*_HEADERS, (_CSP, _POLICY))

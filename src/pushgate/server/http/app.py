"""The ASGI application: pushes first, everything else by the routing table."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from pushgate.errors import InvalidBody, InvalidGroupingKey, LimitExceeded, PushgateError
from pushgate.formats.compression import check_gzip_header
from pushgate.formats.negotiation import content_coding
from pushgate.model.grouping import unpercent
from pushgate.server.access.auth import Access
from pushgate.server.access.config import Permission
from pushgate.server.http import api, manage
from pushgate.server.http.answers import (
    BAD_REQUEST,
    NOT_FOUND,
    Answer,
    answer_to,
    plain_error,
)
from pushgate.server.http.context import AppContext
from pushgate.server.http.csrf import cross_site_write
from pushgate.server.http.push import push_over_asgi
from pushgate.server.http.push_path import PUSH_METHODS, escaped, push_path, raw_prefix
from pushgate.server.http.routes import (
    Route,
    Routes,
    ascii_only,
    clean_path,
)
from pushgate.server.http.scrape import scrape
from pushgate.server.http.usage import push_usage
from pushgate.server.settings import Settings
from pushgate.server.ui import pages

_log = logging.getLogger(__name__)

_GROUP_PATHS = (
    "/metrics/job/:job",
    "/metrics/job/:job/*",
    "/metrics/job@base64/:job",
    "/metrics/job@base64/:job/*",
)
# RFC 1952: the extra field of a header has up to 64 KiB; Go takes names of 512 bytes.
_GZIP_HEADER_BYTES = 70_000
_HTML = (b"content-type", b"text/html; charset=utf-8")
_REASONS: Final = {301: "Moved Permanently", 307: "Temporary Redirect"}


async def push(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a push or delete."""
    await push_over_asgi(context.pushes, scope, receive, send)


def _main_routes(settings: Settings) -> list[Route]:
    prefix, may = settings.route_prefix, Permission
    groups = [prefix + path for path in _GROUP_PATHS]
    return [
        Route(["GET"], prefix + "/-/healthy", "healthy", may.HEALTH, manage.healthy),
        Route(["GET"], prefix + "/-/ready", "ready", may.HEALTH, manage.ready),
        Route(["PUT", "POST"], prefix + "/-/quit", "", may.ADMIN, manage.stop),
        # The reference forgets the prefix.
        Route(["GET"], "/-/quit", "", may.ANY, manage.explain_stop),
        Route(["GET"], settings.telemetry_path, "", may.SCRAPE, scrape),
        # They count themselves, because most of them never get here.
        *(Route(["PUT", "POST"], path, "", may.PUSH, push) for path in groups),
        *(Route(["DELETE"], path, "", may.DELETE, push) for path in groups),
        Route(["GET"], prefix + "/static/*", "static", may.ANY, pages.static),
        Route(["GET"], prefix + "/status", "status", may.READ, pages.status),
        Route(["GET"], prefix + "/", "status", may.READ, pages.groups),
        Route(["GET"], prefix + "/ui/group/*", "status", may.READ, pages.group),
    ]


def _api_routes(settings: Settings) -> list[Route]:
    root, may = settings.route_prefix + "/api/v1", Permission
    admin = [Route(["PUT"], root + "/admin/wipe", "wipe", may.ADMIN, api.wipe)]
    return [
        Route(["GET"], root + "/status", "api/v1/status", may.READ, api.status),
        Route(["GET"], root + "/metrics", "api/v1/metrics", may.READ, api.metrics),
        Route(["OPTIONS"], root + "/*", "api/v1/options", may.ANY, api.options),
        *(admin if settings.web_enable_admin_api else []),
    ]


class App:
    """The application that serves *context*. ``is_push`` is :func:`push_path`."""

    def __init__(self, context: AppContext) -> None:
        self.context = context
        self.is_push = push_path(context.settings)
        self._router = _Router(context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        access = self.context.live.access
        if access.headers:
            send = _with_headers(send, access.headers)
        try:
            if refusal := await self._refusal(access, scope) or self._foreign(scope):
                await refusal(scope, receive, send)
            elif scope["method"] in PUSH_METHODS and self.is_push(scope["raw_path"]):
                await push(self.context, scope, receive, send)
            else:
                await self._router(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - one request must not end the process
            _log.exception("request failed", extra={"path": scope["raw_path"]})
            with suppress(RuntimeError):  # the answer had begun: the connection will be closed
                await answer_to(error)(scope, receive, send)

    async def _refusal(self, access: Access, scope: Scope) -> Answer | None:
        """Refuse a client that may not do this, before anything is done."""
        if access.open:
            return None
        certificate = scope["state"].get("peer_certificate")
        address = scope["client"][0] if scope["client"] else ""
        verdict = await access.admit(scope["headers"], certificate, *self._needed(scope), address)
        if verdict is None:
            return None
        return plain_error(verdict.status, verdict.message, verdict.headers)

    def _needed(self, scope: Scope) -> tuple[Permission, str | None]:
        """Return what the request needs, and for which job."""
        route = self._router.find(scope)
        if route is None:
            return Permission.ANY, None
        if route.endpoint is pages.group:
            return route.permission, pages.job_of(self.context, scope)
        if route.endpoint is not push:
            return route.permission, None
        try:
            return route.permission, self.context.pushes.group(scope["raw_path"]).job
        except (InvalidGroupingKey, LimitExceeded):
            return Permission.ANY, None

    def _foreign(self, scope: Scope) -> Answer | None:
        """Refuse what a page of another site wants to change."""
        settings = self.context.settings
        reason = cross_site_write(scope, settings.web_external_url, settings.web_trusted_proxies)
        return plain_error(403, reason) if reason else None


def _with_headers(send: Send, configured: Sequence[tuple[bytes, bytes]]) -> Send:
    """Return *send* with *configured* headers for everything but 429; an answer's own win."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 429:
            present = {name.lower() for name, _ in message["headers"]}
            added = [header for header in configured if header[0].lower() not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_with_headers


class _Sent:
    """Sends on, to HEAD without the body, and remembers the status."""

    def __init__(self, send: Send, method: str) -> None:
        self._send = send
        self._is_head = method == "HEAD"
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)


class _Router:
    """Answers everything but pushes, and pushes with an unusual path."""

    def __init__(self, context: AppContext) -> None:
        settings = context.settings
        self._context = context
        self._is_push = push_path(settings)
        self._api_root = raw_prefix(settings) + b"/api/v1"
        self._main = Routes(_main_routes(settings))
        self._api = Routes(_api_routes(settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = _Sent(send, scope["method"])
        if answer := self._unrouted(scope):
            await answer(scope, receive, sent)
        else:
            await self._serve(scope, receive, sent)

    def find(self, scope: Scope) -> Route | None:
        """Return the route that serves a request; None if it is only told where to go."""
        if self._unrouted(scope):
            return None
        return self._table(scope).find(self._method(scope), unpercent(scope["raw_path"]))

    def _table(self, scope: Scope) -> Routes:
        in_api = scope["raw_path"].startswith(self._api_root + b"/")
        return self._api if in_api else self._main

    def _method(self, scope: Scope) -> str:
        method: str = scope["method"]
        return "GET" if method == "HEAD" else method

    def _unrouted(self, scope: Scope) -> Answer | None:
        """Return the answer to what reaches no table: bad escapes, and paths not canonical."""
        raw_path = scope["raw_path"]
        if raw_path == b"*" and scope["method"] == "OPTIONS":
            return Answer(200)
        if not raw_path.startswith(b"/") or not _is_decodable(raw_path):
            return BAD_REQUEST
        if self._is_push(raw_path):
            return None
        clean = clean_path(raw_path)
        if clean == self._api_root:
            clean += b"/"
        return None if clean == raw_path else _redirect(307, ascii_only(clean), scope)

    async def _serve(self, scope: Scope, receive: Receive, sent: _Sent) -> None:
        table, method, path = self._table(scope), self._method(scope), unpercent(scope["raw_path"])
        route = table.find(method, path)
        answer = None if route else self._missed(table, method, path, scope)
        if table is self._main and not (route and route.endpoint is push):
            answer = await self._refusal_of_encoding(scope, receive) or answer
        if answer:
            await answer(scope, receive, sent)
        elif route:
            await self._enter(route, scope, receive, sent)

    async def _enter(self, route: Route, scope: Scope, receive: Receive, sent: _Sent) -> None:
        try:
            await route.endpoint(self._context, scope, receive, sent)
        except PushgateError as error:
            await answer_to(error)(scope, receive, sent)
        if route.handler:
            method = scope["method"].lower()
            self._context.telemetry.count_request(sent.status, route.handler, method)

    def _missed(self, table: Routes, method: str, path: bytes, scope: Scope) -> Answer:
        """Return the answer to a path without a route for *method*."""
        meant = table.redirect(method, path)
        if meant is not None:
            return _redirect(301 if method == "GET" else 307, escaped(meant), scope)
        allowed = table.allowed(path)
        if not allowed:
            return NOT_FOUND
        allow = ((b"allow", allowed.encode()),)
        if method == "OPTIONS":
            return Answer(200, headers=allow)
        if method == "GET" and "PUT" in allowed and self._is_push(scope["raw_path"]):
            return push_usage(scope, self._context.settings, allow)
        return plain_error(405, "Method Not Allowed", allow)

    async def _refusal_of_encoding(self, scope: Scope, receive: Receive) -> Answer | None:
        """Refuse a body that is gzip only by its header, even where nobody reads it."""
        header = next((v for name, v in scope["headers"] if name == b"content-encoding"), b"")
        if content_coding(header) != "gzip":
            return None
        try:
            check_gzip_header(await _start_of_body(receive, _GZIP_HEADER_BYTES))
        except InvalidBody as error:
            return answer_to(error)
        return None


def _is_decodable(raw_path: bytes) -> bool:
    try:
        unpercent(raw_path)
    except ValueError:
        return False
    return True


async def _start_of_body(receive: Receive, enough: int) -> bytes:
    body, more = bytearray(), True
    while more and len(body) < enough:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _redirect(status: int, location: str, scope: Scope) -> Answer:
    """Return a redirect to the escaped path *location*; the query stays."""
    if scope["query_string"]:
        location += "?" + ascii_only(scope["query_string"])
    headers = [(b"location", location.encode())]
    if scope["method"] not in ("GET", "HEAD"):
        return Answer(status, headers=headers)
    link = f'<a href="{escape(location)}">{_REASONS[status]}</a>.\n\n'
    return Answer(status, link.encode(), [*headers, _HTML])

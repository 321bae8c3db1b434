"""The methods of a path: the permission each needs, and the endpoint that answers it."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pushgate.errors import PushgateError
from pushgate.server.access.config import Permission
from pushgate.server.http.context import AppContext
from pushgate.server.http.csrf import cross_site_write
from pushgate.server.http.responses import NOT_FOUND, Response, error_response, plain_error
from pushgate.server.http.slices import next_slice

Endpoint: TypeAlias = Callable[[AppContext, Scope], Awaitable[ASGIApp]]
"""Answers a request: what it returns sends the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What one method does at a path.

    Attributes:
        endpoint: answers the request, or raises a :exc:`PushgateError`.
        permission: what the client needs.
        job: returns the job that the request is about, if it is about one. A request that
            makes it raise needs no permission: it will be refused anyway.
        checks_jobs: the endpoint finds out which jobs the request is about, and checks the
            permission for each of them. Before that, any identity is admitted.
        shows_groups: the endpoint shows groups: it has to know what other servers have changed,
            and those that are due have to expire first.
        counted_as: the handler under which requests are counted; empty if they are not.
    """

    endpoint: Endpoint
    permission: Permission
    job: Callable[[AppContext, Scope], str | None] = lambda _context, _scope: None
    checks_jobs: bool = False
    shows_groups: bool = False
    counted_as: str = ""


class Resource:
    """An ASGI application for one path: lets clients in, and calls the action of the method.

    HEAD is GET; the server drops the body. OPTIONS says what is allowed, unless it has an
    action. Where OPTIONS is all there is, nothing else is found.
    """

    def __init__(
        self,
        context: AppContext,
        actions: Mapping[str, Action],
        usage: Callable[[Scope], str] = lambda _: "Method Not Allowed",
        missing: Endpoint | None = None,
    ) -> None:
        """Serve *actions*, by method; *usage* is the text of a 405, *missing* answers with 404."""
        self._context = context
        self._actions = actions
        self._usage = usage
        self._missing = missing
        self._is_found = bool(actions.keys() - {"OPTIONS"})
        head = {"HEAD"} if "GET" in actions else set[str]()
        methods = sorted(actions.keys() | head | {"OPTIONS"})
        self._allow = ((b"allow", ", ".join(methods).encode()),)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        action = self._actions.get("GET" if method == "HEAD" else method)
        refusal = await self._refusal(action, scope)
        if action and not refusal:
            await self._act(action, scope, receive, send)
        else:
            response = refusal or await self._without_action(scope)
            await response(scope, receive, send)

    async def _without_action(self, scope: Scope) -> ASGIApp:
        if not self._is_found:
            return await self._missing(self._context, scope) if self._missing else NOT_FOUND
        if scope["method"] == "OPTIONS":
            return Response(200, headers=self._allow)
        return plain_error(405, self._usage(scope), self._allow)

    async def _refusal(self, action: Action | None, scope: Scope) -> Response | None:
        """Return the response to a client that may not do this; None if it may."""
        context = self._context
        if not context.live.access.open:
            permission, job = Permission.ANY, None
            if action and not action.checks_jobs:
                with suppress(PushgateError):  # it will be refused: any identity may see why
                    permission, job = action.permission, action.job(context, scope)
            refusal = await context.refusal(scope, permission, [job], takes_token=True)
            if refusal:
                return refusal
        settings = context.settings
        reason = cross_site_write(scope, settings.web_external_url, settings.web_trusted_proxies)
        return plain_error(403, reason) if reason else None

    async def _act(self, action: Action, scope: Scope, receive: Receive, send: Send) -> None:
        status, age = 0, 0.0

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if age:  # what is shown may be out of date
                    header = (b"age", b"%d" % ceil(age))
                    message = {**message, "headers": [*message["headers"], header]}
            await send(message)

        try:
            if action.shows_groups:
                age = await self._context.gateway.caught_up()
                await self._context.expiry.settle()
                await next_slice()  # the first slices of a hundred requests are long work, too
            response = await action.endpoint(self._context, scope)
            await response(scope, receive, send_counted)
        except PushgateError as error:
            await error_response(error)(scope, receive, send_counted)
        if action.counted_as:
            method = scope["method"].lower()
            self._context.telemetry.count_request(status, action.counted_as, method)

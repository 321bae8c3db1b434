"""Pushes and deletes: every step from the head of a request to its response.

The protocol (:mod:`pushgate.server.http.protocol`) calls :meth:`PushService.start` itself if
clients need no credentials. All other pushes come through the application and
:func:`push_over_asgi`. Both hand over the body piece by piece and get the response back;
everything between is here.
"""

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from sys import intern
from traceback import clear_frames
from typing import Final, NamedTuple, TypeVar

from starlette.types import Receive, Scope, Send

from pushgate.errors import (
    InconsistentPush,
    InvalidBody,
    InvalidGroupingKey,
    InvalidPush,
    JournalFailed,
    LimitExceeded,
    PushgateError,
)
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.shapecache import remembered
from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import Pushed
from pushgate.server.http.push_path import PUSH_METHODS, grouping_key
from pushgate.server.http.request import Client, address_of, find_header
from pushgate.server.http.responses import Headers, Response, error_response
from pushgate.server.http.slices import queue_slice
from pushgate.server.recent import RefusedPush
from pushgate.server.settings import Settings
from pushgate.server.store.change import Change, Delete, Merge, Push as PushChange, Replace, Update
from pushgate.server.store.expiry import Expiry
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.group import without_times
from pushgate.server.telemetry import Telemetry

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# Bodies of this size and more, and compressed ones, are read in a thread so that the event
# loop stays free. Few at a time: each may take several times the memory of its body. Always in
# the same threads: the C library keeps some of what was freed, tens of megabytes for each thread.
_LARGE_BODY_BYTES = 64 << 10
_DECODERS = ThreadPoolExecutor(2, "decoder")
# Bodies up to this size are always let in: those of 10,000 connections hold 80 MiB.
_SMALL_BODY_BYTES = 8 << 10
# Bodies of hundreds of clients may become complete in one iteration of the event loop, and to read
# one that is new takes a hundred times as long as others. What takes longer waits for its turn.
_TINY_BODY_BYTES = 2 << 10
_MAX_SPENT_SECONDS = 0.005
# A piece takes 40 bytes more than it has, and a client may send two bytes at a time.
_SHORT_PIECE_BYTES = 1 << 10
# Paths and request heads that were seen before are kept for as many groups as there are, so
# that this memory follows what is stored; and at least for so many.
_MIN_REMEMBERED = 1000
_MAX_REMEMBERED_BYTES = 1 << 10
_MAX_LOGGED = 1000
_MAX_KEY_BYTES = 255

UNEXPECTED_EOF: Final = "unexpected EOF"
"""Why a push is refused whose body ends before the end that its head announced."""

_OK = Response(200)
_ACCEPTED = Response(202)
_CHANGE_OF: Final[dict[str, type[PushChange]]] = {
    "PUT": Replace,
    "POST": Merge,
    "PATCH": Update,
}
# The words under which refused pushes are counted; the first that matches is taken.
_REASONS: Final[dict[type[Exception], str]] = {
    InconsistentPush: "inconsistent",
    InvalidGroupingKey: "grouping-key",
    InvalidPush: "body",
    JournalFailed: "journal",
    MemoryError: "memory",
    Exception: "other",
}
# As the Go server logs them, at debug level: clients may send nonsense all day.
_UNREADABLE: Final = {"grouping-key": "failed to parse URL", "body": "failed to parse text"}

# The first header of this name, as in push_request, with a value that a head may have.
_idempotency_key = re.compile(
    rb"\n(?i:idempotency-key):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)"
).search


def _without(head: bytes, found: re.Match[bytes]) -> bytes:
    return head[: found.start(1)] + head[found.end(1) :]


@remembered(entries=100, longest=200)
def _shared(value: bytes) -> bytes:
    """Return one object for all equal values of usual length: a head is kept for each group."""
    return value


class PushRequest(NamedTuple):
    """The head of a push or delete.

    ``length`` is the declared length of the body, or 0. ``size`` is the length of the head as
    the Go server counts it for its metrics. ``idempotency_key``, if there is one, identifies the
    push in all attempts to send it.
    """

    method: str
    path: bytes
    content_type: bytes
    encoding: bytes
    length: int
    size: int
    keep_alive: bool = True
    idempotency_key: bytes = b""


def push_request(
    method: str, path: bytes, query: bytes, headers: Headers, *, keep_alive: bool = True
) -> PushRequest:
    """Return what the request line and *headers* (names in lower case) of a push say."""
    fields = dict(reversed(headers))  # of several, the first counts
    length = fields.get(b"content-length", b"").lstrip(b"0")
    # The request line, and all headers, of Host only the value.
    size = len(method) + len(path) + len(query) + bool(query) + len("HTTP/1.1")
    size += sum([len(name) + len(value) for name, value in headers])
    if b"host" in fields:
        size -= len("host")
    return PushRequest(
        intern(method),
        path,
        _shared(fields.get(b"content-type", b"")),
        fields.get(b"content-encoding", b""),
        int(length) if length.isdigit() and len(length) < 20 else 0,
        size,
        keep_alive,
        find_header(headers, b"idempotency-key"),
    )


class PushService:
    """Carries out pushes and deletes. Use it on the event loop of its gateway."""

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway,
        expiry: Expiry,
        telemetry: Telemetry,
        decoder: PushDecoder,
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._expiry = expiry
        self._telemetry = telemetry
        self._decoder = decoder
        self._max_held = settings.limit_held_bytes
        self._max_pending = settings.limit_pushes_in_flight or math.inf
        limits = settings.limit_body_bytes, settings.limit_decompressed_bytes
        self._short_bytes = min([limit for limit in limits if limit], default=math.inf)
        self._is_checked = not settings.push_disable_consistency_check
        pushed = _OK if self._is_checked else _ACCEPTED
        self._success = {**dict.fromkeys(PUSH_METHODS, pushed), "DELETE": _ACCEPTED}
        self._groups: dict[bytes, GroupingKey] = {}
        self._heads: dict[bytes, PushRequest] = {}
        self._held_bytes = 0
        self._spent_seconds = 0.0
        self._decoding: set[asyncio.Task[None]] = set()
        self._queued = 0

    def start(
        self, request: PushRequest, client: Client, done: Callable[[Response], None]
    ) -> "Push":
        """Start the push or delete *request* of *client*; hand its body to the result.

        *done* gets the response, once: at the end, or as soon as the push is refused, perhaps
        before this returns.
        """
        push = Push(self, request, client, done)
        try:
            push.group = self.group(request.path)
            if request.method != "DELETE":
                if len(request.idempotency_key) > _MAX_KEY_BYTES:
                    raise InvalidPush(f"the Idempotency-Key has more than {_MAX_KEY_BYTES} bytes")
                unread = self._queued + len(self._decoding)
                if self._gateway.waiting + unread >= self._max_pending:
                    raise LimitExceeded(
                        f"{self._max_pending} pushes are waiting", "pushes-in-flight", status=503
                    )
                if request.length > self._short_bytes:
                    self.check_length(request, request.length)
        except PushgateError as error:
            push.settle(error)
        return push

    def group(self, raw_path: bytes) -> GroupingKey:
        """Return the group that *raw_path*, the path of a push, names.

        Raises:
            InvalidGroupingKey: it names none.
        """
        group = self._groups.get(raw_path)
        if group is None:
            group = grouping_key(raw_path, self._settings)
            self._remember(self._groups, raw_path, group)
        return group

    def known(self, head: bytes) -> PushRequest | None:
        """Return the request that :meth:`remember` kept for the bytes *head*.

        Heads that differ only in the idempotency key share an entry, because a key comes once.
        """
        request = self._heads.get(head)
        if request is None and (found := _idempotency_key(head)):
            request = self._heads.get(_without(head, found))
            if request is not None:
                key, size = found[1].rstrip(b" \t"), request.size
                request = request._replace(idempotency_key=key, size=size + len(key))
        return request

    def remember(self, head: bytes, request: PushRequest) -> None:
        """Keep the meaning of the bytes *head*, because clients send the same head every time."""
        if found := _idempotency_key(head):
            size = request.size - len(request.idempotency_key)
            head, request = _without(head, found), request._replace(idempotency_key=b"", size=size)
        self._remember(self._heads, head, request)

    def _remember(self, cache: dict[bytes, _T], key: bytes, value: _T) -> None:
        if len(key) > _MAX_REMEMBERED_BYTES:
            return
        # Clearing is cheaper than keeping track of what was used last: that would cost each push
        # something, and what is in use is back after one push of each client.
        if len(cache) >= max(_MIN_REMEMBERED, 2 * len(self._gateway.store)):
            cache.clear()
        cache[key] = value

    def check_length(self, request: PushRequest, length: int) -> None:
        """Raise :exc:`LimitExceeded` if a body of *length* bytes is too long."""
        settings = self._settings
        most, most_inflated = settings.limit_body_bytes, settings.limit_decompressed_bytes
        if 0 < most < length:
            raise LimitExceeded(f"the body has more than {most} bytes", "body-bytes")
        if not request.encoding and 0 < most_inflated < length:
            raise LimitExceeded(
                f"the body has more than {most_inflated} bytes", "decompressed-bytes"
            )

    def reserve(self, size: int, length: int) -> None:
        """Count *size* more bytes of a body that is still arriving, with *length* so far.

        Raises:
            LimitExceeded: that body is not small, and all bodies together hold too much.
        """
        self._held_bytes += size
        # Large bodies leave room for others, so that a few of them cannot stop all pushes.
        most = self._max_held if length > _LARGE_BODY_BYTES else 2 * self._max_held
        if length > _SMALL_BODY_BYTES and 0 < most < self._held_bytes:
            raise LimitExceeded(
                f"{most} bytes of bodies are held already", "held-bytes", status=503
            )

    def release(self, size: int) -> None:
        """Forget *size* bytes that :meth:`reserve` counted."""
        self._held_bytes -= size

    def carry_out(self, push: "Push") -> None:
        """Read the body of *push*, submit it, and settle it once it is durable.

        Hundreds of bodies may be complete in one iteration of the event loop. After those that were
        read for some milliseconds, the others wait for their turns.
        """
        if push.length <= _TINY_BODY_BYTES:
            self._read(push)
        elif self._spent_seconds <= _MAX_SPENT_SECONDS:
            self._read_timed(push)
        else:
            self._queued += 1
            queue_slice(partial(self._read_queued, push))

    def _read_queued(self, push: "Push") -> None:
        self._queued -= 1
        self._read_timed(push)

    def _read_timed(self, push: "Push") -> None:
        spent = self._spent_seconds
        began = time.perf_counter()
        self._read(push)
        self._spent_seconds = spent + time.perf_counter() - began
        if spent <= _MAX_SPENT_SECONDS / 5 < self._spent_seconds:
            # Each iteration has a budget of its own: a body that waited because of earlier ones
            # would wait behind the slices of scrapes, too. Little is carried over, because this
            # callback costs as much as a tenth of a push.
            asyncio.get_running_loop().call_soon(self._forget_spent)

    def _forget_spent(self) -> None:
        self._spent_seconds = 0.0

    def _read(self, push: "Push") -> None:
        request, pieces = push.request, push.pieces
        push.pieces = []  # freed once they are read, and not when the push is on the disk
        try:
            if request.method == "DELETE":
                self._submit(push, Delete(push.group))
                return
            if push.length <= _LARGE_BODY_BYTES:
                pieces = [b"".join(pieces)]
                read_quickly = self._decoder.read_quickly
                pushed = read_quickly(pieces[0], request.content_type, request.encoding)
                if pushed is not None:
                    self._submit_pushed(push, pushed)
                    return
        except Exception as error:  # noqa: BLE001 - answered, and logged there if unexpected
            push.settle(error)
            return
        task = asyncio.get_running_loop().create_task(self._decode(push, pieces))
        self._decoding.add(task)
        task.add_done_callback(self._decoding.discard)

    async def _decode(self, push: "Push", pieces: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        try:
            pushed = await loop.run_in_executor(_DECODERS, self._decode_large, push, pieces)
            self._submit_pushed(push, pushed)
        except Exception as error:  # noqa: BLE001 - settled, and logged there if unexpected
            push.settle(error)

    def _decode_large(self, push: "Push", pieces: list[bytes]) -> Pushed:
        """Read *pieces*, and do what their admission would otherwise do on the event loop."""
        request = push.request
        body = b"".join(pieces)
        pieces.clear()  # before the change waits for the disk
        try:
            pushed = without_times(self._decoder.read(body, request.content_type, request.encoding))
            pushed.shape.prepare(push.group)
        except PushgateError as error:
            # What was read until then is freed here, frame by frame, and not on the event loop.
            clear_frames(error.__traceback__)
            error.__cause__ = error.__context__ = None
            raise error.with_traceback(None) from None
        return pushed

    def _submit_pushed(self, push: "Push", pushed: Pushed) -> None:
        """Submit what was read.

        Raises:
            LimitExceeded: scrapes would become much longer than the body was.
        """
        most, request, shape = self._settings.limit_decompressed_bytes, push.request, pushed.shape
        # Each line repeats the group, and no more than the whole body.
        at_most = shape.series * (len(push.group.packed) + push.length)
        if (at_most > most or request.encoding) and 0 < most < shape.repeated_bytes(push.group):
            raise LimitExceeded(
                f"in an exposition, the labels of the push take more than {most} bytes: each of its"
                f" {shape.series} lines repeats them",
                "decompressed-bytes",
            )
        once = request.idempotency_key
        if once:
            # Two groups may use the same key. A digest of both is short, and shows no one's key.
            once = blake2b(once, digest_size=16, key=blake2b(push.group.packed).digest()).digest()
        address = address_of(push.client)
        change = _CHANGE_OF[request.method](push.group, pushed, time.time_ns(), address, once)
        self._submit(push, change)

    def _submit(self, push: "Push", change: Change) -> None:
        self._expiry.begin(push.group)  # a POST may not keep what should be gone
        self._gateway.submit(change, push.settle)

    def conclude(self, push: "Push", error: Exception | None) -> Response:
        """Count and log the end of *push*, with *error* or without, and return its response."""
        telemetry, request = self._telemetry, push.request
        response = self._success[request.method] if error is None else self._refusal(push, error)
        # Counted before it is answered: whoever got the answer finds it in the next scrape.
        if request.method == "DELETE":
            telemetry.count_request(response.status, "delete", "delete")
        else:
            size = request.size + push.length
            telemetry.count_push(response.status, request.method, size, push.started)
        return response

    def _refusal(self, push: "Push", error: Exception) -> Response:
        if isinstance(error, LimitExceeded):
            reason = error.limit
        else:
            reason = next(word for kind, word in _REASONS.items() if isinstance(error, kind))
        self._telemetry.rejected[reason] += 1
        self._telemetry.recent.refuse(
            RefusedPush(
                time.time_ns(),
                address_of(push.client),
                getattr(push, "group", None),
                reason,
                "\n".join([str(error), *getattr(error, "advice", ())]),
            )
        )
        source = "{}:{}".format(*push.client) if push.client else ""
        where = {"logged_source": source, "err": str(error)[:_MAX_LOGGED]}
        if isinstance(error, InconsistentPush):
            _log.log(
                logging.ERROR if self._is_checked else logging.WARNING,
                "pushed metrics are invalid or inconsistent with existing metrics",
                extra={"method": push.request.method, **where},
            )
            return error_response(error) if self._is_checked else _ACCEPTED
        if isinstance(error, BodyCutOff):
            _log.warning("failed to read body", extra={"method": push.request.method, **where})
        elif reason in _UNREADABLE:
            _log.debug(_UNREADABLE[reason], extra=where)
        elif not isinstance(error, PushgateError):
            path = repr(push.request.path[:_MAX_LOGGED])
            _log.error("push failed", extra={"path": path}, exc_info=error)
        return error_response(error)


class BodyCutOff(InvalidBody):
    """The body did not arrive in the way the head of the request announced."""


class Push:
    """A push or delete in progress. It collects its body and is answered once."""

    is_full = False

    __slots__ = (
        "_done", "_held", "_service", "client", "group", "length", "pieces", "request", "started",
    )  # fmt: skip

    def __init__(
        self,
        service: PushService,
        request: PushRequest,
        client: Client,
        done: Callable[[Response], None],
    ) -> None:
        self._service = service
        self._done: Callable[[Response], None] | None = done
        self._held = 0
        self.pieces: list[bytes] = []
        self.request = request
        self.client = client
        self.group: GroupingKey
        self.length = 0
        self.started = time.perf_counter()

    def feed(self, piece: bytes) -> None:
        """Take the next *piece* of the body; it is not empty."""
        if len(piece) == self.request.length:  # all of it; its length was checked at the start
            self.pieces.append(piece)
            self.length = len(piece)
            return
        if self._done is None or self.request.method == "DELETE":
            return
        if self.pieces and len(self.pieces[-1]) < _SHORT_PIECE_BYTES:
            self.pieces[-1] += piece
        else:
            self.pieces.append(piece)
        self.length += len(piece)
        try:
            self._service.check_length(self.request, self.length)
            # Before it is reserved: a refusal releases what is counted here.
            self._held += len(piece)
            self._service.reserve(len(piece), self.length)
        except LimitExceeded as error:
            self.settle(error)

    def finish(self) -> None:
        """Carry out the push: its body is complete."""
        if self._done is not None:
            self._service.carry_out(self)

    def hang_up(self) -> None:
        """Ignore that the client is gone: a push that is complete is carried out."""

    def settle(self, error: Exception | None) -> None:
        """End the push, with *error* or because it is durable and visible. The first call counts.

        Everything that was held for the body is released before the response is made.
        """
        done, self._done = self._done, None
        if done is None:
            return
        self.pieces = []
        if self._held:
            self._service.release(self._held)
        if error is not None:
            # The frames of its traceback hold the body, and this frame would hold them: a
            # cycle. Only unexpected errors keep theirs, for the log.
            unexpected = not isinstance(error, PushgateError)
            error = error if unexpected else error.with_traceback(None)
        done(self._service.conclude(self, error))

    fail = settle
    """Refuse the push: the rest of its body will not come."""


async def push_over_asgi(pushes: PushService, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a PUT, POST, PATCH or DELETE of a group. The caller has let the client in."""
    request = push_request(
        scope["method"], scope["raw_path"], scope["query_string"], scope["headers"]
    )
    answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def done(response: Response) -> None:
        if not answered.done():  # it is cancelled when the server stops
            answered.set_result(response)

    push = pushes.start(request, scope["client"], done)
    while not answered.done():
        message = await receive()
        if message["type"] == "http.disconnect":
            push.fail(message.get("error") or BodyCutOff(UNEXPECTED_EOF))
            break
        if body := message.get("body"):
            push.feed(body)
        if not message.get("more_body", False):
            push.finish()
            break
    response = await answered
    await response(scope, receive, send)

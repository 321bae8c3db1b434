"""The steps of a push: which group (the path), what (the body), how it is answered.

:mod:`pushgate.server.http.push` takes them as an ASGI application; for small pushes the
connection takes them itself, without a task.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final, NamedTuple

from pushgate.errors import (
    InconsistentPush,
    InvalidGroupingKey,
    InvalidPush,
    JournalFailed,
    LimitExceeded,
    PushgateError,
)
from pushgate.formats.bodies import Bodies
from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import Pushed
from pushgate.server.change import Change, Delete, Merge, Replace
from pushgate.server.gateway import Gateway
from pushgate.server.http.answers import Answer, answer_to
from pushgate.server.http.routes import grouping_key
from pushgate.server.settings import Settings
from pushgate.server.telemetry import Telemetry

_log = logging.getLogger(__name__)

# What is kept of paths and heads that were seen is for ordinary ones; the longest are
# a thousand times as long.
_MOST_KEYS = 50_000
_MOST_HEADS = 50_000
_LONGEST_KEPT = 1 << 10
# A body is read in a thread, so that the event loop stays free, from this size on; and
# if it is compressed, since then nobody knows how large it is. Few at a time: each may
# take some times the memory of its body.
_LARGE_BODY = 64 << 10
_READ_AT_ONCE = 2
_OK = Answer(200)
_ACCEPTED = Answer(202)
_CHANGE_OF: Final[dict[str, type[Replace] | type[Merge]]] = {"PUT": Replace, "POST": Merge}

_REASONS: Final[dict[type[PushgateError], str]] = {
    InconsistentPush: "inconsistent",
    InvalidGroupingKey: "grouping-key",
    InvalidPush: "body",
    JournalFailed: "journal",
}
_UNREADABLE: Final = {"grouping-key": "failed to parse URL", "body": "failed to parse text"}

Headers = Iterable[tuple[bytes, bytes]]


class PushHead(NamedTuple):
    """What the head of a push or delete says.

    ``length`` is the declared length of the body; ``size`` that of the head, counted as
    the reference counts it for its metrics.
    """

    method: str
    path: bytes
    content_type: bytes
    encoding: bytes
    length: int
    size: int
    keep_alive: bool = True


def push_head(method: str, target: bytes, headers: Headers, *, keep_alive: bool) -> PushHead:
    """Return what the request line and *headers* (names in lower case) of a push say."""
    length = find_header(headers, b"content-length")
    size = len(target) + len(method) + len("HTTP/1.1")
    for name, value in headers:
        size += len(value) if name == b"host" else len(name) + len(value)
    return PushHead(
        method,
        target.partition(b"?")[0],
        find_header(headers, b"content-type"),
        find_header(headers, b"content-encoding"),
        int(length) if length.isdigit() else 0,
        size,
        keep_alive,
    )


class PushDesk:
    """The steps of a push, and the paths and heads that were seen before."""

    def __init__(
        self, settings: Settings, gateway: Gateway, telemetry: Telemetry, bodies: Bodies
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._telemetry = telemetry
        self._keys: dict[bytes, GroupingKey] = {}
        self._bodies = bodies
        self.heads: dict[bytes, PushHead] = {}
        """Heads of small pushes as they were sent, for connections to know them again."""
        self.most_bytes = settings.limit_body_bytes
        self._most_held = settings.limit_held_bytes
        self._held = 0
        self._to_read = 0
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)
        self._most_waiting = settings.limit_pushes_in_flight
        self._is_checked = not settings.push_disable_consistency_check

    def knows(self, raw_path: bytes) -> bool:
        """Return whether *raw_path* certainly names a group: it was pushed to before."""
        return raw_path in self._keys

    def key(self, raw_path: bytes) -> GroupingKey:
        """Return the group that *raw_path* names.

        Raises:
            InvalidGroupingKey: it names none.
        """
        key = self._keys.get(raw_path)
        if key is None:
            key = grouping_key(raw_path, self._settings)
            if len(raw_path) > _LONGEST_KEPT:
                return key
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            self._keys[raw_path] = key
        return key

    def check_length(self, length: int) -> None:
        """Raise :exc:`LimitExceeded` if a body of *length* bytes is too long."""
        if 0 < self.most_bytes < length:
            raise LimitExceeded(
                f"the body has more than {self.most_bytes} bytes (--limit.body-bytes)",
                flag="--limit.body-bytes",
            )

    @contextmanager
    def holding(self) -> Generator[Callable[[int], None]]:
        """Yield what counts the bytes of a body that arrives, to be kept until the block ends.

        It raises :exc:`LimitExceeded` if that is a large body, and all bodies together are
        too much.
        """
        held = 0

        def hold(more: int) -> None:
            nonlocal held
            held += more
            self._held += more
            if held > _LARGE_BODY and 0 < self._most_held < self._held:
                raise LimitExceeded(
                    f"{self._most_held} bytes of bodies are held already (--limit.held-bytes)",
                    flag="--limit.held-bytes",
                    status=503,
                )

        try:
            yield hold
        finally:
            self._held -= held

    def remember(self, head: bytes, means: PushHead) -> None:
        """Keep what the bytes *head* mean. Clients send the same ones again and again."""
        if len(head) > _LONGEST_KEPT:
            return
        if len(self.heads) >= _MOST_HEADS:
            self.heads.clear()
        self.heads[head] = means

    def delete(self, head: PushHead) -> Delete:
        """Return the change that a DELETE makes."""
        return Delete(self.key(head.path))

    def admit(self, head: PushHead) -> GroupingKey:
        """Return the group that *head* pushes to, if its body may come.

        Raises:
            InvalidGroupingKey: the path names no group.
            LimitExceeded: the body is too long, or too many pushes wait.
        """
        key = self.key(head.path)
        self.check_length(head.length)
        if 0 < self._most_waiting <= self._gateway.waiting + self._to_read:
            raise LimitExceeded(
                f"{self._most_waiting} pushes are waiting (--limit.pushes-in-flight)",
                flag="--limit.pushes-in-flight",
                status=503,
            )
        return key

    def read(self, head: PushHead, body: bytes) -> Pushed:
        """Return what *body* pushes. Safe to call from any thread.

        Raises:
            InvalidPush: the body is not what its headers say.
            LimitExceeded: it becomes too large when decompressed.
        """
        return self._bodies.read(body, head.content_type, head.encoding)

    async def read_aside(self, head: PushHead, body: bytes) -> Pushed:
        """Return what *body* pushes; if that may take long, it is read in a thread.

        Raises:
            InvalidPush, LimitExceeded: as from :meth:`read`.
        """
        if len(body) < _LARGE_BODY and not head.encoding:
            return self.read(head, body)
        self._to_read += 1
        try:
            async with self._reading:
                return await asyncio.to_thread(self.read, head, body)
        finally:
            self._to_read -= 1

    def change(self, head: PushHead, key: GroupingKey, pushed: Pushed) -> Change:
        """Return the change that *head* makes of *pushed*, at this moment."""
        return _CHANGE_OF[head.method](key, pushed, time.time_ns())

    def answer(
        self, method: str, error: PushgateError | None, client: tuple[str, int] | None
    ) -> Answer:
        """Return how a push or delete of *client* is answered that ended with *error*, or well."""
        if method == "DELETE" and error is None:
            return _ACCEPTED
        if error is None:
            return _OK if self._is_checked else _ACCEPTED
        reason = _reason(error)
        self._telemetry.count_rejected(reason)
        if isinstance(error, InconsistentPush):
            self._complain(method, error, _source(client))
            return answer_to(error) if self._is_checked else _ACCEPTED
        if reason in _UNREADABLE:
            extra = {"logged_source": _source(client), "err": str(error)}
            _log.debug(_UNREADABLE[reason], extra=extra)
        return answer_to(error)

    def _complain(self, method: str, error: InconsistentPush, source: str) -> None:
        level = logging.ERROR if self._is_checked else logging.WARNING
        _log.log(
            level,
            "pushed metrics are invalid or inconsistent with existing metrics",
            extra={"method": method, "logged_source": source, "err": str(error)},
        )

    def count(self, head: PushHead, answer: Answer, length: int, started: float) -> None:
        """Count a request with a body of *length*; *started* is its ``perf_counter()``."""
        telemetry = self._telemetry
        verb = head.method.lower()
        if verb == "delete":
            telemetry.count_request(answer.status, "delete", verb)
            return
        telemetry.count_request(answer.status, "push", verb)
        now = time.perf_counter()
        telemetry.observe_push(verb, head.size + length, now - started, now)


def _reason(error: PushgateError) -> str:
    """Return the word under which a refused push is counted."""
    if isinstance(error, LimitExceeded):
        return error.flag.removeprefix("--limit.")
    return next((word for kind, word in _REASONS.items() if isinstance(error, kind)), "other")


def find_header(headers: Headers, name: bytes) -> bytes:
    """Return the first header called *name*, empty if there is none."""
    return next((value for header, value in headers if header == name), b"")


def _source(client: tuple[str, int] | None) -> str:
    """Return the address of *client* as logs show it."""
    return "" if client is None else f"{client[0]}:{client[1]}"

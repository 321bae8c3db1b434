"""Who is it, and may they: the question every request is asked before any work is done.

`Access` answers at once whenever it can (nothing is configured, or these very credentials
were verified before), and with an awaitable when it must compute or ask somebody.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pushgate.model.quoting import go_quote
from pushgate.server.people import Identity, People, user_and_password
from pushgate.server.turns import TooManyWaiting, Turns
from pushgate.server.webconfig import Permission, RateLimit, WebConfig

_T = TypeVar("_T")

_REMEMBERED = 10_000  # credentials we remember, of those that were verified and of the others
_MAX_CREDENTIALS = 16 << 10  # bytes; more is nobody's, and is not even looked at
# Passwords that wait for their bcrypt (one at a time). A flood of wrong ones must not pile
# up. Credentials that were verified before do not wait.
_MAX_WAITING = 256


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to answer: *message* and a line feed, as a plain error, with *headers* added."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


Verdict = Refusal | None

_TOO_MANY = Refusal(429, "Too Many Requests")
_TOO_MANY_PASSWORDS = Refusal(429, "Too Many Requests", ((b"Retry-After", b"1"),))


class TokenBucket:
    """Grants *burst* at once and one more each *interval*, from time *now* (seconds) on."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._filled = now

    def take(self, now: float) -> bool:
        """Take one at time *now*; False when there is none. A clock set back gains nothing."""
        if self._limit.interval < 0:
            return True  # as in Go: no limit
        gained = max(0.0, now - self._filled) * 1e9 / self._limit.interval
        self._tokens = min(self._limit.burst, self._tokens + gained)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Access:
    """Says who comes in and what they may do, as one `WebConfig` has it.

    Make a new one when the configuration changes, and give it the *previous* one: it
    takes over the fill of the rate limiter, and the passwords that still hold.

    *headers* are to be set on every response but a 429. *open* says that `admit_now`
    would admit everything, so that a caller need not even ask.

    Raises:
        StartupError: a JWKS file holds no keys, or a CA file no certificate.
    """

    def __init__(
        self,
        config: WebConfig,
        *,
        people: People | None = None,
        previous: "Access | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._clock = clock
        self.people = people or People(config)
        self.memory = _Memory(os.urandom(32))
        self.bucket = TokenBucket(config.rate_limit, clock()) if config.rate_limit else None
        self._challenges = tuple(
            (b"WWW-Authenticate", scheme)
            for scheme, used in ((b"Basic", config.users), (b"Bearer", self.people.bearers))
            if used
        )
        self._checks: dict[bytes, asyncio.Task[Identity | None]] = {}
        # One for the process, whatever is reloaded: it bounds the work of all passwords.
        self.turns: Turns = previous.turns if previous else Turns(_MAX_WAITING)
        # In the case Go gives them: X-Xss-Protection.
        self.headers = tuple((k.title().encode(), v.encode()) for k, v in config.headers)
        self.open = self.bucket is None and not self.people.anybody
        if previous is not None:
            self._take_over(previous)

    def _take_over(self, previous: "Access") -> None:
        if previous.config.rate_limit == self.config.rate_limit:
            self.bucket = previous.bucket
        hashes, before = self.config.users, previous.config.users
        now_called = {
            previous.people.users[user]: identity
            for user, identity in self.people.users.items()
            if hashes[user] == before.get(user)
        }
        self.memory = previous.memory.renewed(now_called)

    def admit_now(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        peer_certificate: Mapping[str, Any] | None,
        permission: Permission,
        job: str | None = None,
        address: str = "",
    ) -> Verdict | Awaitable[Verdict]:
        """Return None to admit, a `Refusal`, or an awaitable of one of the two.

        Takes a token of the rate limiter, so ask once for each request.

        Args:
            headers: the request's, names in lower case, as ASGI has them.
            peer_certificate: what ``getpeercert()`` returned; None without TLS.
            permission: what the request needs; `Permission.ANY` when somebody who is known
                is enough: 404, 405, OPTIONS, and a path that names no group.
            job: which job it is about; None when it is about every job.
            address: the client's; those who wait for a turn get it by address.
        """
        if self.open or (permission is Permission.HEALTH and self.config.exempt_health_endpoints):
            return None
        now = self._clock()
        if self.bucket is not None and not self.bucket.take(now):
            return _TOO_MANY
        if not self.people.anybody:
            return None
        credentials = _credentials(headers)
        if credentials is None:
            return self._judge(self.people.by_certificate(peer_certificate), permission, job)
        if len(credentials) > _MAX_CREDENTIALS:
            return self._judge(None, permission, job)
        digest = self.memory.digest(credentials)
        identity = self.memory.recall(digest, now)
        if identity is not None:
            return self._judge(identity, permission, job)
        identified = self._identify(credentials, digest, address)
        return self._admit_stranger(identified, permission, job)

    async def admit(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        peer_certificate: Mapping[str, Any] | None,
        permission: Permission,
        job: str | None = None,
        address: str = "",
    ) -> Verdict:
        """Return None to admit, or a `Refusal`: `admit_now`, waited for."""
        verdict = self.admit_now(headers, peer_certificate, permission, job, address)
        return verdict if verdict is None or isinstance(verdict, Refusal) else await verdict

    def _judge(self, identity: Identity | None, permission: Permission, job: str | None) -> Verdict:
        if identity is None and self._challenges:
            return Refusal(401, "Unauthorized", self._challenges)
        if identity is None:  # only certificates are known: no header could help
            return Refusal(403, "a client certificate with a known name is needed")
        if identity.may(permission, job):
            return None
        about = "every job" if job is None else f"job {go_quote(job)}"
        return Refusal(403, f"{identity.name} lacks permission {permission.value} for {about}")

    async def _admit_stranger(
        self, identified: Awaitable[Identity | None], permission: Permission, job: str | None
    ) -> Verdict:
        try:
            return self._judge(await identified, permission, job)
        except TooManyWaiting:
            return _TOO_MANY_PASSWORDS

    async def _identify(self, credentials: bytes, digest: bytes, address: str) -> Identity | None:
        scheme, _, parameter = credentials.partition(b" ")
        identity: Identity | None = None
        match scheme.lower():
            case b"basic" if self.config.users:
                identity = await self._by_password(parameter, digest, address)
            case b"bearer":
                identity = await self.people.by_bearer(parameter.strip(), self._clock())
            case _:
                pass
        if identity is not None:
            self.memory.keep(digest, identity)
        return identity

    async def _by_password(self, parameter: bytes, digest: bytes, address: str) -> Identity | None:
        pair = user_and_password(parameter)
        if pair is None or digest in self.memory.refused:
            return None
        check = self._checks.get(digest)
        if check is None:  # the same credentials are computed once, however many ask
            check = asyncio.create_task(self._check(*pair, digest, address))
            self._checks[digest] = check
            check.add_done_callback(lambda check: self._checked(digest, check))
        return await asyncio.shield(check)

    def _checked(self, digest: bytes, check: "asyncio.Task[Identity | None]") -> None:
        del self._checks[digest]
        if not check.cancelled():
            check.exception()  # else asyncio complains when nobody waits any more

    async def _check(
        self, user: str, password: bytes, digest: bytes, address: str
    ) -> Identity | None:
        # Names that do not exist share a line: a flood of guessed names gets one turn where
        # each user gets one. (In a flood its sender can tell which names exist; a user who is
        # kept out would be worse.)
        line = user if user in self.people.users else ""
        async with self.turns.turn(address, line):
            if await asyncio.to_thread(self.people.knows, user, password):
                return self.people.users[user]
        self.memory.refuse(digest)
        return None


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == b"authorization":
            return value.rstrip(b" \t")
    return None


class _Memory:
    """Whose credentials were verified, and which were wrong; of credentials, keyed digests."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.verified: dict[bytes, Identity] = {}
        self.refused: dict[bytes, None] = {}

    def renewed(self, now_called: Mapping[Identity, Identity]) -> "_Memory":
        """Return a memory of those among *now_called* only, under their new identities."""
        memory = _Memory(self._key)
        memory.verified = {
            digest: now_called[identity]
            for digest, identity in self.verified.items()
            if identity in now_called
        }
        return memory

    def digest(self, credentials: bytes) -> bytes:
        return hashlib.blake2b(credentials, key=self._key, digest_size=32).digest()

    def recall(self, digest: bytes, now: float) -> Identity | None:
        identity = self.verified.get(digest)
        if identity is None or now < identity.until:
            return identity
        del self.verified[digest]
        return None

    def keep(self, digest: bytes, identity: Identity) -> None:
        _with_room(self.verified)[digest] = identity

    def refuse(self, digest: bytes) -> None:
        _with_room(self.refused)[digest] = None


def _with_room(memory: dict[bytes, _T]) -> dict[bytes, _T]:
    while len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    return memory

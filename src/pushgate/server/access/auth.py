"""Authentication and authorization of requests, and the rate limit before them.

`Access.admit` does not wait if nothing is configured, or if the same credentials were verified
before. Otherwise a password has to be hashed, or the keys of an issuer have to be fetched.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pushgate.model.quoting import go_quote
from pushgate.model.slices import PER_SLICE
from pushgate.server.access.config import Identity, Permission, RateLimit, WebConfig
from pushgate.server.access.credentials import CredentialStore, user_and_password
from pushgate.server.access.fair_queue import FairQueue, TooManyWaiting

_T = TypeVar("_T")

_MAX_REMEMBERED = 10_000  # credentials that were verified, and as many that were refused
_MAX_CREDENTIALS = 16 << 10  # bytes; longer ones are refused unseen: hashing holds up the loop
_MAX_WAITING = 256  # passwords that wait to be hashed; one is hashed at a time


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response that refuses a request: *message* and a line feed as plain text."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


_RATE_LIMITED = Refusal(429, "Too Many Requests")
_TOO_MANY_PASSWORDS = Refusal(429, "Too Many Requests", ((b"Retry-After", b"1"),))


class TokenBucket:
    """A bucket that starts with *burst* tokens and gains one per *interval*.

    *now* is the time of its creation in seconds.
    """

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._filled = now

    def take(self, now: float) -> bool:
        """Take a token at time *now*; return False if there is none.

        A clock that is set back adds no tokens.
        """
        if self._limit.interval < 0:
            return True  # no limit, as in Go's rate package
        gained = max(0.0, now - self._filled) * 1e9 / self._limit.interval
        self._tokens = min(self._limit.burst, self._tokens + gained)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Access:
    """Admits or refuses requests according to one `WebConfig`; a changed one needs a `successor`.

    Attributes:
        config: the configuration it follows.
        open: whether every request is admitted, so that callers need not ask.
        headers: what to add to every response but a 429.

    Raises:
        StartupError: a JWKS file holds no keys, or a CA file no certificate.
    """

    def __init__(
        self,
        config: WebConfig,
        *,
        store: CredentialStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.store = store or CredentialStore(config)
        self.open = config.rate_limit is None and not config.requires_credentials
        # As Go's http.Header.Set spells them: X-Xss-Protection.
        self.headers = tuple((k.title().encode(), v.encode()) for k, v in config.headers.items())
        self._clock = clock
        schemes = {b"Basic": config.users, b"Bearer": config.bearer_tokens or config.jwt}
        self._challenges = tuple((b"WWW-Authenticate", name) for name in schemes if schemes[name])
        self._verified: dict[bytes, Identity] = {}  # by digests of the credentials
        self._key = os.urandom(32)  # without it, the digests are no help to guess passwords
        self._queue = FairQueue(_MAX_WAITING)
        # Apart from what was verified: a flood of wrong passwords must not push out the right ones.
        self._refused: dict[bytes, None] = {}
        self._checks: dict[bytes, asyncio.Task[Identity | None]] = {}  # by the same digests
        self._bucket = TokenBucket(config.rate_limit, clock()) if config.rate_limit else None

    def successor(self, config: WebConfig, store: CredentialStore | None = None) -> "Access":
        """Return what follows a changed *config*, and keeps the state that is still valid."""
        after = Access(config, store=store, clock=self._clock)
        still_valid = {
            self.store.users[user]: identity
            for user, identity in after.store.users.items()
            if config.users[user] == self.config.users.get(user)
        }
        after._verified = {
            digest: still_valid[identity]
            for digest, identity in self._verified.items()
            if identity in still_valid
        }
        after._key = self._key
        after._queue = self._queue  # one for all: reloading must not multiply its work
        if config.rate_limit == self.config.rate_limit:
            after._bucket = self._bucket
        return after

    async def admit(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        peer_certificate: Mapping[str, Any] | None,
        permission: Permission,
        jobs: Iterable[str | None] = (None,),
        address: str = "",
        *,
        takes_token: bool = True,
    ) -> Refusal | None:
        """Return why a request is refused, for the first of *jobs* that is; None if it is admitted.

        It waits only for credentials that were not verified before.

        Args:
            headers: the request's headers, names in lower case, as in an ASGI scope.
            peer_certificate: the result of ``getpeercert()``; None without TLS.
            permission: what the request needs. `Permission.ANY` admits every identity: for
                404, 405, OPTIONS, and paths that name no group.
            jobs: the jobs it is about; None among them stands for all jobs.
            address: the client's IP address. Passwords that wait take turns by address.
            takes_token: whether the rate limiter counts this. It does so once for a request,
                which may ask again when it knows its jobs.
        """
        if self.open or (permission is Permission.HEALTH and self.config.exempt_health_endpoints):
            return None
        # Before the credentials: the limit also bounds how often passwords can be guessed.
        if takes_token and self._bucket is not None and not self._bucket.take(self._clock()):
            return _RATE_LIMITED
        if not self.config.requires_credentials:
            return None
        try:
            identity = await self._identity(headers, peer_certificate, address)
        except TooManyWaiting:
            return _TOO_MANY_PASSWORDS
        if identity is None and self._challenges:
            return Refusal(401, "Unauthorized", self._challenges)
        if identity is None:  # only certificates are accepted: no header could help
            return Refusal(403, "a client certificate with a known name is needed")
        for number, job in enumerate(jobs):
            if number % PER_SLICE == PER_SLICE - 1:
                await asyncio.sleep(0)
            if not identity.may(permission, job):
                about = "every job" if job is None else f"job {go_quote(job)}"
                lacking = f"{identity.name} lacks permission {permission} for {about}"
                return Refusal(403, lacking)
        return None

    async def _identity(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        peer_certificate: Mapping[str, Any] | None,
        address: str,
    ) -> Identity | None:
        """Return the identity of the sender of a request; None if its credentials are unknown.

        Raises:
            TooManyWaiting: too many passwords wait to be hashed.
        """
        credentials = next((v for name, v in headers if name == b"authorization"), None)
        if credentials is None:
            return self.store.authenticate_certificate(peer_certificate)
        credentials = credentials.rstrip(b" \t")
        if len(credentials) > _MAX_CREDENTIALS:
            return None
        digest = hashlib.blake2b(credentials, key=self._key, digest_size=32).digest()
        identity = self._verified.get(digest)
        if identity is not None and self._clock() < identity.until:
            return identity
        self._verified.pop(digest, None)  # it has expired
        identity = None
        scheme, _, parameter = credentials.partition(b" ")
        match scheme.lower():
            case b"basic" if self.config.users:
                identity = await self._by_password(parameter, digest, address)
            case b"bearer":
                identity = await self.store.authenticate_bearer(parameter.strip(), self._clock())
            case _:
                pass
        if identity is not None:
            _with_room(self._verified)[digest] = identity
        return identity

    async def _by_password(self, parameter: bytes, digest: bytes, address: str) -> Identity | None:
        pair = user_and_password(parameter)
        if pair is None or digest in self._refused:
            return None
        check = self._checks.get(digest)
        if check is None:  # requests with the same credentials share one check
            check = asyncio.create_task(self._check(*pair, digest, address))
            self._checks[digest] = check

            def checked(check: "asyncio.Task[Identity | None]") -> None:
                del self._checks[digest]
                if not check.cancelled():
                    check.exception()  # asyncio logs an exception that nobody has looked at

            check.add_done_callback(checked)
        # A client that hangs up must not cancel the check that others wait for.
        return await asyncio.shield(check)

    async def _check(
        self, user: str, password: bytes, digest: bytes, address: str
    ) -> Identity | None:
        # Unknown names share a line, so that a flood of guessed names gets one turn where a
        # user gets one. The price: while it lasts, its sender can tell which names exist.
        line = user if user in self.store.users else ""
        async with self._queue.turn(address, line):
            if await asyncio.to_thread(self.store.check_password, user, password):
                return self.store.users[user]
        _with_room(self._refused)[digest] = None
        return None


def _with_room(memory: dict[bytes, _T]) -> dict[bytes, _T]:
    """Forget the oldest entries of *memory* until there is room for one more."""
    while len(memory) >= _MAX_REMEMBERED:
        del memory[next(iter(memory))]
    return memory

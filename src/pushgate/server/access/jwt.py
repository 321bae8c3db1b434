"""Verification of JSON web tokens, and the keys of their issuers."""

import asyncio
import base64
import json
import logging
import math
import ssl
from contextlib import suppress
from importlib import import_module
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry

from pushgate.errors import LimitExceeded, StartupError
from pushgate.formats.compression import decompress
from pushgate.model.quoting import go_quote
from pushgate.server.access.config import Identity, JwtIssuer

# Only signatures that need a private key. With HS256 anybody could sign with the public key,
# and "none" needs no key at all.
_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
_LEEWAY = 30  # seconds that clocks may differ
_BELIEVED = 300.0  # seconds after which a token is verified again
_MAX_TIME = 253_402_300_799  # the end of the year 9999, in Unix seconds

# Keys older than this are fetched again, so that withdrawn ones are forgotten.
_MAX_AGE = 3600.0
# Seconds between two fetches, however many unknown keys the tokens name. Without any key all
# clients are refused, so then the next attempt comes sooner.
_PAUSE = 60.0
_PAUSE_WITHOUT_KEYS = 5.0
_FETCH_SECONDS = 5.0  # for a whole fetch
# How long a request waits for a fetch if there are keys already: long enough for a key server
# that works, too short for a flood of unknown keys to hold connections.
_WAIT_SECONDS = 1.0
_MAX_KEY_SET = 1 << 20  # bytes, also after decompression

_log = logging.getLogger(__name__)


class IssuerKeys:
    """The public keys of an issuer: those of its file, or the last ones fetched from its URL.

    Raises:
        StartupError: the file holds no keys, or the URL's authority no certificate.
    """

    def __init__(self, issuer: JwtIssuer) -> None:
        self._url = issuer.jwks_url
        self.current = KeySet([])
        self._started = self._fetched = -math.inf
        self._fetching: asyncio.Task[None] | None = None
        if self._url:
            # What a fetch imports would hold up the event loop for a quarter of a second.
            import httpcore2  # noqa: F401
            import httpx2  # noqa: F401

            with suppress(ImportError):  # it is private, and may be renamed
                import_module("anyio._backends._asyncio")
            self._trusted = _trusted(issuer)
        else:
            try:
                self.current = _key_set(issuer.jwks.encode())
            except ValueError as error:
                raise StartupError(f"jwks_file of {issuer.issuer}: {error}") from None

    def are_old(self, now: float) -> bool:
        """Return whether the keys are missing, or old enough to be fetched again."""
        return bool(self._url) and not 0 <= now - self._fetched <= _MAX_AGE

    async def refresh(self, now: float) -> None:
        """Fetch the keys, unless that was tried a moment ago, and wait for them for a while.

        Concurrent callers share one fetch, which goes on when they have stopped waiting.
        """
        pause = _PAUSE if self.current else _PAUSE_WITHOUT_KEYS
        if self._fetching is None:
            if not self._url or 0 <= now - self._started < pause:
                return
            self._started = now
            self._fetching = asyncio.create_task(self._fetch(now))
        await asyncio.wait(
            {self._fetching}, timeout=_WAIT_SECONDS if self.current else _FETCH_SECONDS
        )

    async def _fetch(self, now: float) -> None:
        try:
            body = await _get(self._url, self._trusted)
            # A large key set takes too long to parse for the event loop.
            self.current = await asyncio.to_thread(_key_set, body)
            self._fetched = now
        except Exception as error:  # noqa: BLE001 - whatever fails, the current keys stay
            reason = {"url": self._url, "err": _reason(error)}
            _log.error("could not fetch the keys of a JWT issuer", extra=reason)
        finally:
            self._fetching = None


class JwtVerifier:
    """Verifies the tokens of one issuer, with *keys* if an earlier verifier has them already.

    Raises:
        StartupError: as for `IssuerKeys`.
    """

    def __init__(self, issuer: JwtIssuer, keys: IssuerKeys | None = None) -> None:
        self._issuer = issuer
        self.keys = keys or IssuerKeys(issuer)

    async def verify(self, token: bytes, now: float) -> Identity | None:
        """Return whom *token* stands for; None unless it is this issuer's and valid at *now*.

        Waits for the keys of the issuer when they are missing or old, or lack the token's.
        """
        if _claimed_issuer(token) != self._issuer.issuer:
            return None
        # If the fetch fails, the old keys stay in use: an issuer that is down must not stop
        # all pushes.
        if self.keys.are_old(now):
            await self.keys.refresh(now)
        with suppress(InvalidKeyIdError):
            return self._verify(token, now)
        known = self.keys.current
        await self.keys.refresh(now)
        if self.keys.current is not known:
            with suppress(InvalidKeyIdError):
                return self._verify(token, now)
        return None

    def _verify(self, token: bytes, now: float) -> Identity | None:
        """Return whom *token* stands for; raise InvalidKeyIdError if its key is not known."""
        # Not strict: providers add headers of their own.
        known = JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
        required = jwt.JWTClaimsRegistry(
            int(now),
            _LEEWAY,
            iss={"essential": True, "value": self._issuer.issuer},
            aud={"essential": True, "value": self._issuer.audience},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, self.keys.current, registry=known).claims
            required.validate(claims)
            subject, expires = _sane(claims)
        except InvalidKeyIdError:
            raise
        # A client chose every byte of the token. Whatever that makes a parser raise, such as a
        # RecursionError, means that the token is not valid.
        except Exception as error:  # noqa: BLE001
            _log.debug("JWT refused", extra={"err": _reason(error)})
            return None
        grants = tuple(rule for rule in self._issuer.permissions if rule.matches(claims))
        until = min(expires + _LEEWAY, now + _BELIEVED)
        return Identity(f"JWT subject {go_quote(subject)}", grants, until)


def _sane(claims: dict[str, Any]) -> tuple[str, float]:
    """Return subject and expiry of *claims*; raise ValueError if their values make no sense."""
    for name in ("exp", "nbf", "iat"):
        time = claims.get(name, 0)
        # Python's JSON knows NaN, which no comparison calls expired, and its true is an int.
        if isinstance(time, bool) or not 0 <= time <= _MAX_TIME:
            raise ValueError(f"{name} is not a time")
    subject = claims.get("sub", "")
    if not isinstance(subject, str):
        raise ValueError("sub is not a string")  # noqa: TRY004 - the type is a client's mistake
    return subject, float(claims["exp"])


def _trusted(issuer: JwtIssuer) -> ssl.SSLContext:
    ca = issuer.jwks_ca.encode("ascii", "ignore").decode()
    unusable = StartupError(f"jwks_ca_file of {issuer.issuer} contains no usable certificate")
    # ssl takes an empty text for "the system's authorities".
    if (issuer.jwks_ca or issuer.jwks_ca_file) and "-----BEGIN" not in ca:
        raise unusable
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        raise unusable from None


async def _get(url: str, trusted: ssl.SSLContext) -> bytes:
    import httpx2

    async with (
        asyncio.timeout(_FETCH_SECONDS),
        httpx2.AsyncClient(verify=trusted, timeout=_FETCH_SECONDS) as client,
        client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as response,
    ):
        response.raise_for_status()  # redirects too: they are not followed
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > _MAX_KEY_SET:
                raise ValueError(f"the response is larger than {_MAX_KEY_SET} bytes")
    # httpx would inflate the body without a limit.
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    with suppress(LimitExceeded):
        return await asyncio.to_thread(decompress, bytes(body), encoding, limit=_MAX_KEY_SET)
    raise ValueError(f"the response is larger than {_MAX_KEY_SET} bytes after decompression")


def _reason(error: BaseException) -> str:
    """Return the message of *error*, and of its first cause if a library has wrapped it."""
    if isinstance(error, TimeoutError):
        return f"no complete response within {_FETCH_SECONDS:g} s"
    told, cause = (str(error) or type(error).__name__).partition("\n")[0], error
    while deeper := cause.__cause__ or cause.__context__:
        cause = deeper
    return told if str(cause) in told else f"{told}: {cause}"


def _key_set(body: bytes) -> KeySet:
    """Return the public keys in *body*; raise ValueError if there are none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    keys: list[Key] = []
    try:
        for key in document["keys"]:
            if key.get("kty") != "oct":  # a shared secret has no place in a public key set
                with suppress(JoseError, ValueError, TypeError, LookupError):
                    keys.append(JWKRegistry.import_key(key))  # skips key types of the future
    except (TypeError, LookupError, AttributeError):  # it is JSON, but not of this form
        keys = []
    if not keys:
        raise ValueError("contains no JSON web key set with a public key")
    return KeySet(keys)


def _claimed_issuer(token: bytes) -> object:
    """Return the issuer that *token* names, before anything is verified."""
    payload = token.partition(b".")[2].partition(b".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):  # also integers of too many digits
        return None
    return claims.get("iss") if isinstance(claims, dict) else None

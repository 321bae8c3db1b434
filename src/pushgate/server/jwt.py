"""JSON web tokens of the issuers the web configuration trusts."""

import asyncio
import base64
import fnmatch
import json
import logging
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry

from pushgate.errors import StartupError
from pushgate.server.webconfig import ClaimRule, Grants, JwtIssuer

# Signatures only somebody with a private key can make: no HS256, no none.
_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
_LEEWAY = 30  # seconds that clocks may differ
_FETCH_AGAIN = 3600.0  # seconds after which a key that its issuer withdrew is forgotten
_FETCH_AT_MOST = 60.0  # seconds between fetches, whatever unknown keys tokens name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token that was verified says: who, what they may do, until when (Unix time)."""

    subject: str
    grants: Grants
    expires: float


class JwtVerifier:
    """Verifies the tokens of one issuer; fetches its keys when it must."""

    def __init__(self, issuer: JwtIssuer) -> None:
        """Read the keys, or the authority of who has them, that a file held.

        Raises:
            StartupError: there are none.
        """
        self._issuer = issuer
        self._trusted = _trusted(issuer)
        self._keys = KeySet([])
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()
        if issuer.jwks is not None:
            self._keys = _key_set(issuer.jwks, f"jwks_file of {issuer.issuer}")

    async def verify(self, token: bytes, now: float) -> Verified | None:
        """Return what *token* says, if it is this issuer's and holds at Unix time *now*."""
        if _claimed_issuer(token) != self._issuer.issuer:
            return None
        if self._issuer.jwks_url and now - self._fetched > _FETCH_AGAIN:
            await self._fetch(now)
        try:
            return self._verify(token, now)
        except InvalidKeyIdError:
            if not self._issuer.jwks_url:
                return None
        await self._fetch(now)
        try:
            return self._verify(token, now)
        except InvalidKeyIdError:
            return None

    def _verify(self, token: bytes, now: float) -> Verified | None:
        """Return what *token* says; raise InvalidKeyIdError when its key is not known."""
        known = JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
        required = jwt.JWTClaimsRegistry(
            int(now),
            _LEEWAY,
            iss={"essential": True, "value": self._issuer.issuer},
            aud={"essential": True, "value": self._issuer.audience},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, self._keys, registry=known).claims
            required.validate(claims)
        except InvalidKeyIdError:
            raise
        except (JoseError, ValueError, TypeError, LookupError):
            return None
        grants = tuple(rule.grant for rule in self._issuer.rules if _matches(rule, claims))
        return Verified(str(claims.get("sub", "")), grants, float(claims["exp"]) + _LEEWAY)

    async def _fetch(self, now: float) -> None:
        async with self._fetching:
            if now - self._fetched < _FETCH_AT_MOST:
                return
            self._fetched = now
            try:
                body = await _get(self._issuer.jwks_url, self._trusted)
                self._keys = _key_set(body, self._issuer.jwks_url)
            except StartupError as error:
                _log.error("could not fetch the keys of a JWT issuer", extra={"err": str(error)})


def _trusted(issuer: JwtIssuer) -> ssl.SSLContext:
    ca = issuer.jwks_ca
    try:
        return ssl.create_default_context(cadata=ca.decode("ascii", "ignore") if ca else None)
    except (ssl.SSLError, ValueError):
        raise StartupError(
            f"jwks_ca_file of {issuer.issuer} has no certificate that can be used"
        ) from None


async def _get(url: str, trusted: ssl.SSLContext) -> bytes:
    import httpx2

    try:
        async with httpx2.AsyncClient(verify=trusted, timeout=10) as client:
            response = await client.get(url)  # follows no redirect
            response.raise_for_status()
    except Exception as error:  # also what is no URL, and what no resolver takes
        raise StartupError(f"{url}: {error}") from error
    return response.content


def _key_set(body: bytes, source: str) -> KeySet:
    try:
        keys = list(_usable_keys(json.loads(body)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        keys = []
    if not keys:
        raise StartupError(f"{source} holds no JSON web key set with a public key")
    return KeySet(keys)


def _usable_keys(document: Any) -> Iterator[Key]:
    for key in document["keys"]:
        if key.get("kty") == "oct":
            continue  # a secret has no place in a public key set
        with suppress(JoseError, ValueError, TypeError, LookupError):
            yield JWKRegistry.import_key(key)  # a kind of key from the future harms no other


def _claimed_issuer(token: bytes) -> object:
    """Return the issuer that *token* claims to be of; nothing is verified."""
    payload = token.partition(b".")[2].partition(b".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims.get("iss") if isinstance(claims, dict) else None


def _matches(rule: ClaimRule, claims: Any) -> bool:
    for name in rule.path:
        if not isinstance(claims, dict):
            return False
        claims = claims.get(name)
    values = claims if isinstance(claims, list) else [claims]
    return any(isinstance(v, str) and fnmatch.fnmatchcase(v, rule.value) for v in values)

"""Everybody the web configuration knows, how they prove it, and what they may do."""

import base64
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import bcrypt

from pushgate.model.quoting import go_quote
from pushgate.server.jwt import IssuerKeys, JwtVerifier
from pushgate.server.tls import canonical_name, names
from pushgate.server.webconfig import Grant, Grants, Permission, WebConfig

# Python's decoder lets too much padding pass.
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
# What everybody who is known may do.
_EVERYBODYS = frozenset({Permission.ANY, Permission.HEALTH})
_PASSWORD_BYTES = 72  # bcrypt reads no more: Go's cuts the rest off, Python's refuses it
_JWT_SECONDS = 300.0  # how long a verified JWT is believed before it is verified again


class JobGrant:
    """A `Grant`, its globs compiled."""

    def __init__(self, grant: Grant) -> None:
        self._permissions = grant.permissions
        globs = "|".join(map(fnmatch.translate, grant.jobs))
        self._jobs = re.compile(globs) if globs else None

    def covers(self, permission: Permission, job: str | None) -> bool:
        """Return whether this grants *permission* for *job*; None stands for every job."""
        if permission not in self._permissions:
            return False
        return self._jobs is None or (job is not None and self._jobs.match(job) is not None)


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who is known, until Unix time *until*. *grants* None: they may do everything."""

    name: str
    grants: tuple[JobGrant, ...] | None
    until: float = float("inf")

    def may(self, permission: Permission, job: str | None) -> bool:
        """Return whether *permission* is granted for *job*; None stands for every job."""
        if self.grants is None:
            return True
        for grant in self.grants:  # no any(): a generator would cost more than the answer
            if grant.covers(permission, job):
                return True
        return permission in _EVERYBODYS


class People:
    """Who is known, by each kind of credentials.

    Raises:
        StartupError: a JWKS file holds no keys, or a CA file no certificate.
    """

    def __init__(self, config: WebConfig, previous: "People | None" = None) -> None:
        """Take over the keys of issuers that *previous* has fetched.

        Safe to call in a thread while *previous* is in use.
        """
        listed = config.permissions
        self._hashes = config.users
        self._absent = _absent_hash(config.users.values())
        self.users = _identities("user", config.users, listed.users if listed else None)
        tokens = [token.name for token in config.bearer_tokens]
        identities = _identities("token", tokens, listed.tokens if listed else None)
        self._tokens = [(token.sha256, identities[token.name]) for token in config.bearer_tokens]
        certificates = {
            canonical_name(name): grants
            for name, grants in (listed.certificates if listed else {}).items()
        }
        self._certificates = _identities("certificate", certificates, certificates)
        fetched = previous.keys if previous else {}
        self._issuers = [
            JwtVerifier(issuer, fetched.get((issuer.jwks_url, issuer.jwks_ca)))
            for issuer in config.jwt
        ]
        self.keys: dict[tuple[str, bytes | None], IssuerKeys] = {
            (issuer.jwks_url, issuer.jwks_ca): verifier.keys
            for issuer, verifier in zip(config.jwt, self._issuers, strict=True)
            if issuer.jwks_url
        }
        self.anybody = config.asks_who
        self.bearers = bool(self._tokens or self._issuers)

    def knows(self, user: str, password: bytes) -> bool:
        """Return whether *password* is *user*'s. Takes a bcrypt, even for who is not there."""
        hashed = self._hashes.get(user, self._absent)
        right = bcrypt.checkpw(password[:_PASSWORD_BYTES], hashed)
        return right and user in self._hashes

    async def by_bearer(self, token: bytes, now: float) -> Identity | None:
        """Return who sent *token*; may have to fetch the keys of an issuer."""
        digest, found = hashlib.sha256(token).digest(), None
        for sha256, identity in self._tokens:  # all of them: time tells nothing
            if hmac.compare_digest(sha256, digest):
                found = identity
        if found is not None:
            return found
        for issuer in self._issuers:
            verified = await issuer.verify(token, now)
            if verified is not None:
                name = f"JWT subject {go_quote(verified.subject)}"
                until = min(verified.expires, now + _JWT_SECONDS)
                return Identity(name, tuple(map(JobGrant, verified.grants)), until)
        return None

    def by_certificate(self, peer_certificate: Mapping[str, Any] | None) -> Identity | None:
        """Return who showed this certificate; under several names, they may do what each may."""
        if not self._certificates or not peer_certificate:
            return None
        found = [
            self._certificates[name]
            for name in sorted(names(peer_certificate) & self._certificates.keys())
        ]
        if len(found) < 2:
            return found[0] if found else None
        return Identity(found[0].name, sum((identity.grants or () for identity in found), ()))


def user_and_password(parameter: bytes) -> tuple[str, bytes] | None:
    """Return what the *parameter* of Basic credentials holds; None when it is malformed."""
    if not _BASE64.fullmatch(parameter):
        return None
    pair = base64.b64decode(parameter)
    user, colon, password = pair.partition(b":")
    return (user.decode(errors="surrogateescape"), password) if colon else None


def _identities(
    kind: str, known: Iterable[str], listed: Mapping[str, Grants] | None
) -> dict[str, Identity]:
    grants: Callable[[str], tuple[JobGrant, ...] | None] = lambda name: (  # noqa: E731 - a look-up
        None if listed is None else tuple(map(JobGrant, listed.get(name, ())))
    )
    return {name: Identity(f"{kind} {go_quote(name)}", grants(name)) for name in known}


def _absent_hash(hashes: Iterable[bytes]) -> bytes:
    """Return a hash no password has, as costly as the costliest of *hashes*."""
    cost = max((hashed[4:6] for hashed in hashes), default=b"10")
    return b"$2b$" + cost + b"$" + b"." * 53

"""Configured identities, their credentials, and what each may do."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import bcrypt

from pushgate.model.quoting import go_quote
from pushgate.server.access.config import Grants, Identity, WebConfig
from pushgate.server.access.tls import canonical_name, names

if TYPE_CHECKING:
    from pushgate.server.access.jwt import IssuerKeys, JwtVerifier

# Python's decoder accepts more padding than there should be; Go's does not.
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
# bcrypt uses no more bytes of a password. Go's implementation drops the rest, Python's
# refuses a longer one.
_MAX_PASSWORD = 72


class CredentialStore:
    """The identities of a `WebConfig`, by each kind of credentials.

    It takes over the keys of issuers that *previous* has fetched. It may be created in a
    thread while *previous* is in use.

    Raises:
        StartupError: a JWKS file holds no keys, or a CA file no certificate.
    """

    def __init__(self, config: WebConfig, previous: "CredentialStore | None" = None) -> None:
        listed = config.permissions
        self._hashes = {user: hashed.encode() for user, hashed in config.users.items()}
        # A hash that no password has, as costly as the costliest: in $2b$12$… the cost is 12.
        cost = max((hashed[4:6] for hashed in self._hashes.values()), default=b"10")
        self._absent = b"$2b$" + cost + b"$" + b"." * 53
        self.users = _identities("user", config.users, listed.users if listed else None)
        tokens = [token.name for token in config.bearer_tokens]
        identities = _identities("token", tokens, listed.tokens if listed else None)
        self._tokens = [
            (bytes.fromhex(token.sha256), identities[token.name]) for token in config.bearer_tokens
        ]
        certificates = {
            canonical_name(name): grants
            for name, grants in (listed.certificates if listed else {}).items()
        }
        self._certificates = _identities("certificate", certificates, certificates)
        # Keys belong to a URL and the authority that vouched for it.
        fetched = previous.fetched if previous else {}
        self._issuers: list[JwtVerifier] = []
        if config.jwt:
            # Most servers have no issuer, and this import takes a fifth of a start.
            from pushgate.server.access import jwt

            self._issuers = [
                jwt.JwtVerifier(issuer, fetched.get((issuer.jwks_url, issuer.jwks_ca)))
                for issuer in config.jwt
            ]
        self.fetched: dict[tuple[str, str], IssuerKeys] = {
            (issuer.jwks_url, issuer.jwks_ca): verifier.keys
            for issuer, verifier in zip(config.jwt, self._issuers, strict=True)
            if issuer.jwks_url
        }

    def check_password(self, user: str, password: bytes) -> bool:
        """Return whether *password* is *user*'s.

        It takes as long for a user who does not exist, so that the time reveals nothing.
        """
        hashed = self._hashes.get(user, self._absent)
        matches = bcrypt.checkpw(password[:_MAX_PASSWORD], hashed)
        return matches and user in self._hashes

    async def authenticate_bearer(self, token: bytes, now: float) -> Identity | None:
        """Return the identity of a bearer *token* or JWT; may wait for an issuer's keys."""
        digest, found = hashlib.sha256(token).digest(), None
        # Digests have one length, so that a comparison does not tell that of a token.
        for sha256, identity in self._tokens:  # always all, so that the time tells nothing
            if hmac.compare_digest(sha256, digest):
                found = identity
        for issuer in self._issuers:
            if found is None:
                found = await issuer.verify(token, now)
        return found

    def authenticate_certificate(
        self, peer_certificate: Mapping[str, Any] | None
    ) -> Identity | None:
        """Return the identity of a verified certificate.

        One with several configured names may do what any of them may.
        """
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
    """Return what the *parameter* of Basic credentials holds; None if it is malformed."""
    if not _BASE64.fullmatch(parameter):
        return None
    user, colon, password = base64.b64decode(parameter).partition(b":")
    # RFC 7617 names no charset. A name that is not UTF-8 equals none in the configuration.
    return (user.decode(errors="surrogateescape"), password) if colon else None


def _identities(
    kind: str, known: Iterable[str], listed: Mapping[str, Grants] | None
) -> dict[str, Identity]:
    """Return *known* names as identities. With no permissions *listed*, each may do everything."""
    return {
        name: Identity(f"{kind} {go_quote(name)}", None if listed is None else listed.get(name, ()))
        for name in known
    }

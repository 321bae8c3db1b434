"""The web configuration as values.

The sections have the keys of the file, and refuse values that cannot work. Where exporter-toolkit
has the same check, the error has its words.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pushgate.model.quoting import go_quote
from pushgate.server.access.tls import TlsConfig
from pushgate.server.document import Nanoseconds, Section, Whole, check_known

_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class Permission(StrEnum):
    """What a request needs. The last two cannot be granted: every identity has them."""

    PUSH = "push"
    DELETE = "delete"
    SCRAPE = "scrape"
    READ = "read"
    ADMIN = "admin"
    HEALTH = "health"
    ANY = "any"


_GRANTABLE = [*Permission][:-2]
_ALWAYS_GRANTED = [*Permission][-2:]


class Grant(Section, frozen=True, kw_only=True):
    """Permissions for the jobs that match one of the globs in *jobs*; None means all jobs."""

    allow: tuple[str, ...]
    jobs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.allow:
            raise ValueError("`allow` must list at least one permission")
        for name in self.allow:
            check_known("permission", name, _GRANTABLE)
        # Nobody writes an empty list on purpose: a template may have had no values.
        if self.jobs is not None and not self.jobs:
            raise ValueError("`jobs` must list at least one glob; leave it out to allow every job")

    def covers(self, permission: Permission, job: str | None) -> bool:
        """Return whether this grants *permission* for *job*; None means all jobs."""
        if permission not in self.allow:
            return False
        return self.jobs is None or (job is not None and _matches(self.jobs)(job) is not None)


@lru_cache(maxsize=10_000)  # every request asks, and each of many teams may have its own globs
def _matches(globs: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(map(fnmatch.translate, globs))).match


Grants = tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated client.

    Attributes:
        name: how messages call it: ``user "alice"``.
        grants: what it may do; None if it may do everything.
        until: the Unix time after which it has to be authenticated again.
    """

    name: str
    grants: Grants | None
    until: float = float("inf")

    def may(self, permission: Permission, job: str | None) -> bool:
        """Return whether *permission* is granted for *job*; None means all jobs."""
        if self.grants is None or permission in _ALWAYS_GRANTED:
            return True
        return any(grant.covers(permission, job) for grant in self.grants)


class ClaimRule(Grant, frozen=True, kw_only=True):
    """A grant for JWTs whose *claim*, or an item of it, matches the glob *value*.

    A list in *claim* leads into nested claims.
    """

    claim: str | tuple[str, ...]
    value: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.value or not self.path or not all(self.path):
            raise ValueError("every entry of permissions needs a claim and a value")

    @property
    def path(self) -> tuple[str, ...]:
        return (self.claim,) if isinstance(self.claim, str) else self.claim

    def matches(self, claims: Any) -> bool:
        """Return whether *claims*, those of a verified token, meet the rule."""
        for name in self.path:
            if not isinstance(claims, dict):
                return False
            claims = claims.get(name)
        # Groups and roles are often lists: one item that matches is enough.
        values = claims if isinstance(claims, list) else [claims]
        return any(isinstance(v, str) and fnmatch.fnmatchcase(v, self.value) for v in values)


class JwtIssuer(Section, frozen=True, kw_only=True):
    """An item of ``jwt``. Of its files, *jwks* and *jwks_ca* are the content."""

    issuer: str
    audience: str
    permissions: tuple[ClaimRule, ...]
    jwks: str = ""
    jwks_file: str = ""
    jwks_url: str = ""
    jwks_ca: str = ""
    jwks_ca_file: str = ""

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience or not self.permissions:
            raise ValueError("issuer, audience and permissions are required")
        if bool(self.jwks or self.jwks_file) == bool(self.jwks_url):
            raise ValueError(f"{go_quote(self.issuer)} needs one of jwks_file or jwks_url")
        # A key that an attacker on the way could replace would let anybody in.
        try:
            parts = urlsplit(self.jwks_url)
            is_https = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
        except ValueError:  # brackets that do not match, or an invalid port
            is_https = False
        if self.jwks_url and not is_https:
            raise ValueError(
                "jwks_url must be an https URL, because its keys decide who gets access"
            )


class BearerToken(Section, frozen=True, kw_only=True):
    """An item of ``bearer_tokens``. Once its file was read, it has a *sha256*."""

    name: str
    token_file: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("every token needs a name")
        if bool(self.token_file) == bool(self.sha256):
            raise ValueError(f"{go_quote(self.name)} needs one of token_file or sha256")
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            raise ValueError(
                f"sha256 of {go_quote(self.name)} must be the 64 hexadecimal digits"
                " of the token's SHA-256, not the token"
            )


class RateLimit(Section, frozen=True, kw_only=True):
    """A token bucket: *burst* is its size, and a token is added each *interval*."""

    interval: Nanoseconds = Nanoseconds(0)
    burst: Whole = Whole(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """Grants by name. An identity that is not listed has none."""

    users: Mapping[str, Grants] = field(default_factory=dict)
    tokens: Mapping[str, Grants] = field(default_factory=dict)
    certificates: Mapping[str, Grants] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """A web configuration. The default stands for no file: everything is off.

    Attributes:
        users: bcrypt hashes by name.
        permissions: None if the key is absent, which lets every identity do everything.
        files: the configuration file and the files it names.
        empty: which part of the file is there but empty, if it is the file or a section
            of credentials. That is valid at start, but suspicious while the server runs.
    """

    tls: TlsConfig | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    rate_limit: RateLimit | None = None
    bearer_tokens: tuple[BearerToken, ...] = ()
    jwt: tuple[JwtIssuer, ...] = ()
    permissions: Permissions | None = None
    exempt_health_endpoints: bool = False
    files: tuple[Path, ...] = ()
    empty: str = field(default="", compare=False)

    @property
    def requires_credentials(self) -> bool:
        """Whether a request needs credentials, or a certificate that has permissions."""
        certificates = self.permissions and self.permissions.certificates
        return bool(self.users or self.bearer_tokens or self.jwt or certificates)

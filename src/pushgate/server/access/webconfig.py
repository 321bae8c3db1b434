"""The web configuration file: exporter-toolkit's format, and a few keys of our own.

Strict: a key that is unknown or given twice is an error, in the toolkit's words. Files that
the configuration names are read with it, so a `WebConfig` is complete and says the same for ever.
"""

import hashlib
import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from pushgate.errors import StartupError
from pushgate.model.quoting import go_quote
from pushgate.server.access.strictyaml import Document, compose
from pushgate.server.access.tls import (
    CIPHERS,
    CURVES,
    TLS13_CIPHERS,
    VERSIONS,
    ClientAuth,
    TlsConfig,
)

_TOP = {
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "rate_limit",
    "bearer_tokens",
    "jwt",
    "permissions",
    "exempt_health_endpoints",
}
# The sections without which nobody is asked for credentials.
_WHO = {"basic_auth_users", "bearer_tokens", "jwt", "permissions"}
_TLS_PEM = ("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file")
_TLS = {
    *_TLS_PEM,
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "curve_preferences",
    "prefer_server_cipher_suites",
}
# Which response headers may be set, and to what; None: to anything.
_HEADERS: Mapping[str, tuple[str, ...] | None] = {
    "Content-Security-Policy": None,
    "Strict-Transport-Security": None,
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": None,
}
_CLIENT_AUTH = {
    "": ClientAuth.NONE,
    "RequireClientCert": ClientAuth.REQUIRE_ANY,
    **{policy.value: policy for policy in ClientAuth},
}
_MAX_FILE = 16 << 20  # bytes; a bundle of all public authorities has some hundred thousand
_BCRYPT_LENGTH = 59  # of the shortest hash Go's bcrypt takes
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class Permission(Enum):
    """What the configuration can grant, and the two things everybody who is known may do."""

    PUSH = "push"
    DELETE = "delete"
    SCRAPE = "scrape"
    READ = "read"
    ADMIN = "admin"
    HEALTH = "health"
    ANY = "any"


_GRANTABLE = {p.value: p for p in Permission if p not in {Permission.HEALTH, Permission.ANY}}


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions, for the jobs that one of the globs *jobs* matches; no globs: for all."""

    permissions: frozenset[Permission]
    jobs: tuple[str, ...] = ()


Grants = tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token by *name*; of the token itself we keep the SHA-256."""

    name: str
    sha256: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """*grant*, for whom the claim found along *path* (or one of its items) matches glob *value*."""

    path: tuple[str, ...]
    value: str
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtIssuer:
    """Whose JWTs are taken, and what their claims permit. *jwks* is what a file held."""

    issuer: str
    audience: str
    jwks: bytes | None = None
    jwks_url: str = ""
    jwks_ca: bytes | None = None
    rules: tuple[ClaimRule, ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket of size *burst*, one token per *interval* (nanoseconds; never zero)."""

    interval: int
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """Who may do what, by name. Whoever is not listed may do nothing."""

    users: Mapping[str, Grants] = field(default_factory=dict)
    tokens: Mapping[str, Grants] = field(default_factory=dict)
    certificates: Mapping[str, Grants] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """All that the file says. Without a file: nothing is on.

    *permissions* is None when the key is absent: whoever is known may do everything.
    *files* are the configuration and the files it named. *hollow* says what in the file is
    there and empty: right after a start that means what it says, but while the server runs
    it is most likely a mistake.
    """

    tls: TlsConfig | None = None
    http2: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    rate_limit: RateLimit | None = None
    bearer_tokens: tuple[BearerToken, ...] = ()
    jwt: tuple[JwtIssuer, ...] = ()
    permissions: Permissions | None = None
    exempt_health_endpoints: bool = False
    files: tuple[Path, ...] = ()
    hollow: str = field(default="", compare=False)

    @property
    def requires_credentials(self) -> bool:
        """Whether a request needs credentials, or a certificate that has permissions."""
        certificates = self.permissions and self.permissions.certificates
        return bool(self.users or self.bearer_tokens or self.jwt or certificates)


def load(path: Path) -> WebConfig:
    """Return what the file at *path*, and the files it names, say.

    Raises:
        StartupError: a file can't be read, or what it says can't be done. The text is
            exporter-toolkit's where there is one; it does not name *path*, and never
            holds a secret.
    """
    return parse(_read(path), base=path.parent, source=path)


def parse(text: bytes, *, base: Path, source: Path | None = None) -> WebConfig:
    """Return what *text*, and the files it names relative to *base*, say.

    Raises:
        StartupError: as for `load`.
    """
    reader = _Reader(base)
    fields = reader.fields(compose(text), "web.Config", _TOP)
    top = fields.get
    http2, headers = _http(reader, top("http_server_config"))
    config = WebConfig(
        tls=_tls(reader, top("tls_server_config")),
        http2=http2,
        headers=headers,
        users=_users(reader, top("basic_auth_users")),
        rate_limit=_rate_limit(reader, top("rate_limit")),
        bearer_tokens=_tokens(reader, top("bearer_tokens")),
        jwt=tuple(_issuer(reader, node) for node in reader.items(top("jwt"), "jwt")),
        permissions=_permissions(reader, top("permissions")),
        exempt_health_endpoints=reader.boolean(top("exempt_health_endpoints"), default=False),
        files=(*([source] if source else []), *reader.files),
        hollow=_hollow(fields),
    )
    reader.check()
    _check_permissions(config)
    return config


def _hollow(fields: Mapping[str, yaml.Node]) -> str:
    empty = [key for key, node in fields.items() if node.value in ("", [], "~", "null")]
    if len(empty) == len(fields):
        return "the file is empty"
    first = next((key for key in empty if key in _WHO), "")
    return first and f"{first} is empty"


class _Reader(Document):
    """A document whose texts may be names of files, relative to *base*."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self._base = base
        self.files: list[Path] = []

    def file(self, key: str, name: str) -> bytes:
        """Return what the file that *key* names holds."""
        self.files.append(self._base / name)
        try:
            return _read(self.files[-1])
        except StartupError as error:
            raise StartupError(f"failed to read {key} ({self.files[-1]}): {error}") from None

    def file_or_text(self, fields: Mapping[str, str], key: str) -> bytes | None:
        """Return what *key*_file names, else what *key* holds, else None."""
        if fields[f"{key}_file"]:
            return self.file(f"{key}_file", fields[f"{key}_file"])
        return fields[key].encode() or None


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StartupError(f"read {path}: not a regular file")
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        verb = "read" if isinstance(error, IsADirectoryError) else "open"
        raise StartupError(f"{verb} {path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:  # a NUL in the name
        raise StartupError(f"open {str(path)!r}: invalid argument") from None
    if len(content) > _MAX_FILE:
        raise StartupError(f"read {path}: larger than {_MAX_FILE} bytes")
    return content


def _opened(path: str, flags: int) -> int:
    # A pipe would keep us waiting for somebody who writes into it.
    return os.open(path, flags | os.O_NONBLOCK)


def _one_of(known: Collection[str], value: str, what: str) -> str:
    if value not in known:
        raise StartupError(f"{what}: {value}")
    return value


def _tls(reader: _Reader, node: yaml.Node | None) -> TlsConfig | None:
    fields = reader.fields(node, "web.TLSConfig", _TLS)
    pem = {key: reader.text(fields.get(key)) for key in _TLS_PEM}
    auth = reader.text(fields.get("client_auth_type"))
    sans = reader.texts(fields.get("client_allowed_sans"))
    lowest = reader.text(fields.get("min_version")) or "TLS12"
    highest = reader.text(fields.get("max_version")) or "TLS13"
    ciphers = reader.texts(fields.get("cipher_suites"), "[]web.Cipher")
    curves = reader.texts(fields.get("curve_preferences"), "[]web.Curve")
    reader.boolean(fields.get("prefer_server_cipher_suites"), default=True)
    reader.check()
    for version in (lowest, highest):
        _one_of(VERSIONS, version, "unknown TLS version")
    for cipher in ciphers:
        _one_of({*CIPHERS, *TLS13_CIPHERS}, cipher, "unknown cipher")
    for curve in curves:
        _one_of(CURVES, curve, "unknown curve")
    if not auth and not any(pem.values()):
        return None  # as in the toolkit: the other keys don't turn TLS on
    certificate, key = _pair(reader, pem)
    client_ca = reader.file_or_text(pem, "client_ca")
    client_auth = _CLIENT_AUTH[_one_of(_CLIENT_AUTH, auth, "invalid ClientAuth")]
    if client_ca and client_auth is ClientAuth.NONE:
        raise StartupError("client CA's have been configured without a Client Auth Policy")
    return TlsConfig(
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        client_auth=client_auth,
        allowed_sans=sans,
        min_version=VERSIONS[lowest],
        max_version=VERSIONS[highest],
        ciphers=ciphers,
        curves=curves,
    )


def _pair(reader: _Reader, pem: Mapping[str, str]) -> tuple[bytes, bytes]:
    for part in ("cert", "key"):
        if not pem[part] and not pem[f"{part}_file"]:
            raise StartupError(f"missing one of {part} or {part}_file")
    certificate = reader.file_or_text(pem, "cert") or b""
    return certificate, reader.file_or_text(pem, "key") or b""


def _http(reader: _Reader, node: yaml.Node | None) -> tuple[bool, tuple[tuple[str, str], ...]]:
    fields = reader.fields(node, "web.HTTPConfig", {"http2", "headers"})
    http2 = reader.boolean(fields.get("http2"), default=True)
    entries = reader.entries(fields.get("headers"), "map[string]string")
    given = [(name, reader.text(value)) for name, value in entries.items()]
    reader.check()
    return http2, tuple((name, _header_value(name, value)) for name, value in given)


def _header_value(name: str, value: str) -> str:
    if name not in _HEADERS:
        raise StartupError(f"HTTP header {go_quote(name)} can not be configured")
    allowed = _HEADERS[name]
    if allowed is not None and value not in allowed:
        listed = " ".join(map(go_quote, allowed))
        raise StartupError(
            f"invalid value for {name}. Expected one of: [{listed}], but got: {go_quote(value)}"
        )
    line = re.sub(r"[\r\n]", " ", value).strip(" \t")  # as Go sends what YAML has folded
    if not line.isascii() or not line.isprintable():
        raise StartupError(f"invalid value for {name}. It may hold printable ASCII only")
    return line


def _users(reader: _Reader, node: yaml.Node | None) -> dict[str, bytes]:
    entries = reader.entries(node, "map[string]config.Secret")
    users = {name: reader.text(value, "config.plain").encode() for name, value in entries.items()}
    reader.check()
    for hashed in users.values():
        _check_bcrypt(hashed.decode())
    return users


def _check_bcrypt(hashed: str) -> None:
    """Complain as Go's bcrypt.Cost does, without showing more of the hash than it."""
    if len(hashed) < _BCRYPT_LENGTH:
        raise StartupError("crypto/bcrypt: hashedSecret too short to be a bcrypted password")
    if hashed[0] != "$":
        raise StartupError(
            "crypto/bcrypt: bcrypt hashes must start with '$',"
            f" but hashedSecret started with '{hashed[0]}'"
        )
    if hashed[1] > "2":
        raise StartupError(
            f"crypto/bcrypt: bcrypt algorithm version '{hashed[1]}' requested"
            " is newer than current version '2'"
        )
    form = re.fullmatch(
        r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", hashed, re.ASCII
    )
    if form is None:
        raise StartupError("crypto/bcrypt: not a bcrypt hash; make one with `htpasswd -nB user`")
    if not 4 <= int(form[1]) <= 31:
        raise StartupError(
            f"crypto/bcrypt: cost {int(form[1])} is outside allowed inclusive range 4..31"
        )


def _rate_limit(reader: _Reader, node: yaml.Node | None) -> RateLimit | None:
    fields = reader.fields(node, "web.RateLimiterConfig", {"interval", "burst"})
    interval = reader.duration(fields.get("interval"))
    burst = reader.integer(fields.get("burst"))
    return RateLimit(interval, burst) if interval else None


def _tokens(reader: _Reader, node: yaml.Node | None) -> tuple[BearerToken, ...]:
    tokens = tuple(_token(reader, item) for item in reader.items(node, "bearer_tokens"))
    twice = {token.name for token in tokens if sum(t.name == token.name for t in tokens) > 1}
    if twice:
        raise StartupError(f"bearer_tokens: the name {go_quote(min(twice))} is given twice")
    return tokens


def _token(reader: _Reader, node: yaml.Node) -> BearerToken:
    fields = reader.fields(node, "bearer_tokens", {"name", "token_file", "sha256"})
    name, file, digest = (reader.text(fields.get(k)) for k in ("name", "token_file", "sha256"))
    reader.check()
    if not name:
        raise StartupError("bearer_tokens: every token needs a name")
    if bool(file) == bool(digest):
        raise StartupError(f"bearer_tokens: {go_quote(name)} needs one of token_file or sha256")
    if digest and not _SHA256.fullmatch(digest):
        raise StartupError(
            f"bearer_tokens: sha256 of {go_quote(name)} must be the 64 hexadecimal digits"
            " of the token's SHA-256, not the token"
        )
    if digest:
        return BearerToken(name, bytes.fromhex(digest))
    token = reader.file("token_file", file).strip()
    if not token:
        raise StartupError(f"bearer_tokens: token_file of {go_quote(name)} is empty")
    return BearerToken(name, hashlib.sha256(token).digest())


def _issuer(reader: _Reader, node: yaml.Node) -> JwtIssuer:
    known = ("issuer", "audience", "jwks_file", "jwks_url", "jwks_ca_file")
    fields = reader.fields(node, "jwt", {*known, "permissions"})
    issuer, audience, file, url, ca_file = (reader.text(fields.get(key)) for key in known)
    rules = tuple(
        _claim_rule(reader, rule) for rule in reader.items(fields.get("permissions"), "jwt")
    )
    reader.check()
    if not issuer or not audience or not rules:
        raise StartupError("jwt: issuer, audience and permissions are needed")
    if bool(file) == bool(url):
        raise StartupError(f"jwt: {go_quote(issuer)} needs one of jwks_file or jwks_url")
    if url and not _is_https(url):
        raise StartupError("jwt: jwks_url must be an https URL: its keys decide who comes in")
    return JwtIssuer(
        issuer=issuer,
        audience=audience,
        jwks=reader.file("jwks_file", file) if file else None,
        jwks_url=url,
        jwks_ca=reader.file("jwks_ca_file", ca_file) if ca_file else None,
        rules=rules,
    )


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is none
        return False


def _claim_rule(reader: _Reader, node: yaml.Node) -> ClaimRule:
    fields = reader.fields(node, "jwt.permissions", {"claim", "value", "allow", "jobs"})
    claim = fields.get("claim")
    one = claim is None or isinstance(claim, yaml.ScalarNode)
    path = (reader.text(claim),) if one else reader.texts(claim)
    value = reader.text(fields.get("value"))
    reader.check()
    if not all(path) or not path or not value:
        raise StartupError("jwt: every entry of permissions needs a claim and a value")
    return ClaimRule(path, value, _allowed(reader, fields))


def _permissions(reader: _Reader, node: yaml.Node | None) -> Permissions | None:
    if node is None:
        return None
    fields = reader.fields(node, "permissions", {"users", "tokens", "certificates"})
    return Permissions(
        **{kind: _grants_by_name(reader, f"permissions.{kind}", fields[kind]) for kind in fields}
    )


def _grants_by_name(reader: _Reader, section: str, node: yaml.Node) -> dict[str, Grants]:
    return {
        name: tuple(_grant(reader, section, item) for item in reader.items(grants, section))
        for name, grants in reader.entries(node, section).items()
    }


def _grant(reader: _Reader, section: str, node: yaml.Node) -> Grant:
    if isinstance(node, yaml.ScalarNode):
        return Grant(frozenset({_permission(reader.text(node))}))
    return _allowed(reader, reader.fields(node, section, {"allow", "jobs"}))


def _allowed(reader: _Reader, fields: Mapping[str, yaml.Node]) -> Grant:
    allow = reader.texts(fields.get("allow"))
    jobs = reader.texts(fields.get("jobs"))
    reader.check()
    if not allow:
        raise StartupError("permissions: `allow` must list what is allowed")
    if "jobs" in fields and not jobs:
        raise StartupError("permissions: `jobs` must list globs; leave it out to mean every job")
    return Grant(frozenset(map(_permission, allow)), jobs)


def _permission(name: str) -> Permission:
    if name not in _GRANTABLE:
        raise StartupError(f"unknown permission: {name}; there are {', '.join(_GRANTABLE)}")
    return _GRANTABLE[name]


def _check_permissions(config: WebConfig) -> None:
    """Refuse permissions for somebody who can never come: most likely a name is misspelt."""
    permissions = config.permissions
    if permissions is None:
        return
    if not (config.users or config.bearer_tokens or config.jwt or permissions.certificates):
        raise StartupError(
            "permissions: there is nobody to have them; add basic_auth_users, bearer_tokens,"
            " jwt or permissions.certificates"
        )
    for section, listed, known in (
        ("users", permissions.users, set(config.users)),
        ("tokens", permissions.tokens, {token.name for token in config.bearer_tokens}),
    ):
        for name in sorted(set(listed) - known):
            raise StartupError(f"permissions.{section}: there is no {go_quote(name)}")
    if permissions.certificates and not (config.tls and config.tls.verifies_clients):
        raise StartupError(
            "permissions.certificates needs a client_auth_type that verifies:"
            " VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        )

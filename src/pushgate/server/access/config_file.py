"""The web configuration file: exporter-toolkit's format, and keys of our own."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from msgspec import field
from msgspec.structs import replace

from pushgate.errors import StartupError
from pushgate.model.quoting import go_quote
from pushgate.server.access.config import (
    BearerToken,
    Grant,
    Grants,
    JwtIssuer,
    Permissions,
    RateLimit,
    WebConfig,
)
from pushgate.server.access.tls import TlsConfig
from pushgate.server.document import Document, Section, Switch
from pushgate.server.live import read_file

_S = TypeVar("_S", bound=Section)

# Which response headers may be set, and to which values; None: to any.
_HEADERS: Mapping[str, tuple[str, ...] | None] = {
    "Content-Security-Policy": None,
    "Strict-Transport-Security": None,
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": None,
}
# The 22nd character of the salt has only two bits of it, so it is one of four.
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)


# What a mapping with keys of the operator's choice holds is converted key by key, so that errors
# name the key: msgspec's paths leave it out.
_Free = Mapping[str, Any]


class HttpServerConfig(Section, frozen=True, kw_only=True):
    """``http_server_config``. The key ``http2`` is accepted and has no effect."""

    http2: Switch = Switch(True)
    headers: _Free = field(default_factory=dict)


class PermissionSections(Section, frozen=True, kw_only=True):
    """``permissions``: for each kind of identity, lists of grants by name."""

    users: _Free = field(default_factory=dict)
    tokens: _Free = field(default_factory=dict)
    certificates: _Free = field(default_factory=dict)


class Top(Section, frozen=True, kw_only=True):
    """The whole file."""

    tls_server_config: TlsConfig = TlsConfig()
    http_server_config: HttpServerConfig = HttpServerConfig()
    basic_auth_users: _Free = field(default_factory=dict)
    rate_limit: RateLimit = RateLimit()
    bearer_tokens: tuple[BearerToken, ...] = ()
    jwt: tuple[JwtIssuer, ...] = ()
    permissions: PermissionSections | None = None
    exempt_health_endpoints: Switch = Switch(False)


def load(path: Path) -> WebConfig:
    """Return the configuration in the file at *path* and the files it names.

    Raises:
        StartupError: a file can't be read, or what it says can't be done. The text names the
            line but not *path*, and holds no secret.
    """
    return parse(read_file(path), base=path.parent, source=path)


def parse(text: bytes, *, base: Path, source: Path | None = None) -> WebConfig:
    """Return the configuration in *text* and the files it names, relative to *base*.

    Raises:
        StartupError: as for `load`.
    """
    document = Document(text)
    top = document.convert(_without_nulls(document.data), Top)
    files = _Files(base)
    tls = files.read(top.tls_server_config)
    config = WebConfig(
        tls=tls if tls.turns_tls_on else None,
        headers=document.texts(
            top.http_server_config.headers, _header, ("http_server_config", "headers")
        ),
        users=document.texts(top.basic_auth_users, _bcrypt_hash, ("basic_auth_users",)),
        rate_limit=top.rate_limit if top.rate_limit.interval else None,
        bearer_tokens=tuple(map(files.read_token, top.bearer_tokens)),
        jwt=tuple(map(files.read, top.jwt)),
        permissions=_permissions(document, top.permissions) if top.permissions else None,
        exempt_health_endpoints=bool(top.exempt_health_endpoints),
        files=(*([source] if source else []), *files.names),
        empty=_empty(document.data),
    )
    _check_names(document, config)
    return config


class _Files:
    """Reads the files that a configuration names, relative to *base*, and keeps their *names*."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.names: list[Path] = []

    def read(self, section: _S) -> _S:
        """Return *section* with the content of each ``x_file`` as its ``x``."""
        keys = [key for key in section.__struct_fields__ if key.endswith("_file")]
        contents = {
            key.removesuffix("_file"): self._named(key, name).decode(errors="replace")
            for key in keys
            if (name := getattr(section, key))
        }
        return replace(section, **contents)

    def read_token(self, token: BearerToken) -> BearerToken:
        if token.sha256:
            return token
        secret = self._named("token_file", token.token_file).strip()
        if not secret:
            raise StartupError(f"bearer_tokens: token_file of {go_quote(token.name)} is empty")
        return BearerToken(name=token.name, sha256=hashlib.sha256(secret).hexdigest())

    def _named(self, key: str, name: str) -> bytes:
        path = self._base / name
        self.names.append(path)
        try:
            return read_file(path)
        except StartupError as error:
            raise StartupError(f"failed to read {key} ({path}): {error}") from None


# A key without a value stands for the default, as in Go. There are two exceptions: a key that
# restricts is empty then, not absent; and a user or header is refused unless it may be empty.
_RESTRICTING: _Free = {"permissions": {}, "jobs": []}
_OF_TEXTS = {"basic_auth_users", "headers"}


def _without_nulls(value: Any, key: str = "") -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    if key in _OF_TEXTS:
        return {name: "" if item is None else item for name, item in value.items()}
    given = {name: _RESTRICTING.get(name) if v is None else v for name, v in value.items()}
    return {name: _without_nulls(v, name) for name, v in given.items() if v is not None}


def _empty(data: _Free) -> str:
    if not any(data.values()):
        return "the file is empty"
    sections = ("basic_auth_users", "bearer_tokens", "jwt", "permissions")
    return next((f"{key} is empty" for key in sections if not data.get(key, True)), "")


def _header(name: str, value: str) -> str:
    if name not in _HEADERS:
        raise ValueError(f"HTTP header {go_quote(name)} can not be configured")
    allowed = _HEADERS[name]
    if allowed is not None and value not in allowed:
        listed = " ".join(map(go_quote, allowed))
        raise ValueError(
            f"invalid value for {name}. Expected one of: [{listed}], but got: {go_quote(value)}"
        )
    # Go's server replaces line breaks when it writes a header; YAML's | and > leave some.
    line = re.sub(r"[\r\n]", " ", value).strip(" \t")
    if not line.isascii() or not line.isprintable():
        raise ValueError(f"invalid value for {name}. Only printable ASCII is allowed")
    return line


def _bcrypt_hash(_user: str, hashed: str) -> str:
    form = _BCRYPT.fullmatch(hashed)
    if form is None or not 4 <= int(form[1]) <= 31:  # the costs that there are
        raise ValueError("crypto/bcrypt: not a bcrypt hash; make one with `htpasswd -nB user`")
    return hashed


def _permissions(document: Document, sections: PermissionSections) -> Permissions:
    found: dict[str, dict[str, Grants]] = {}
    for kind in sections.__struct_fields__:
        found[kind] = {}
        for name, listed in getattr(sections, kind).items():
            at = ("permissions", kind, name)
            grants = []
            for index, item in enumerate(document.convert(listed, tuple[Any, ...], at)):
                spelled_out = {"allow": [item]} if isinstance(item, str) else item
                grants.append(document.convert(spelled_out, Grant, (*at, index)))
            found[kind][name] = tuple(grants)
    return Permissions(**found)


def _check_names(document: Document, config: WebConfig) -> None:
    """Refuse names that are given twice, and permissions for names that do not exist."""
    tokens = [token.name for token in config.bearer_tokens]
    for index, name in enumerate(tokens):
        if name in tokens[:index]:
            twice = f"the name {go_quote(name)} is given twice"
            raise document.error(twice, at=("bearer_tokens", index))
    permissions, at = config.permissions, ("permissions",)
    if permissions is None:
        return
    if not config.requires_credentials:
        raise document.error(
            "no identity can have them; add basic_auth_users, bearer_tokens,"
            " jwt or permissions.certificates",
            at=at,
        )
    listed = [("users", name) for name in sorted(permissions.users.keys() - config.users)]
    listed += [("tokens", name) for name in sorted(permissions.tokens.keys() - set(tokens))]
    for section, name in listed:
        raise document.error(f"there is no {go_quote(name)}", name, at=(*at, section))
    if permissions.certificates and not (config.tls and config.tls.verify_mode):
        raise document.error(
            "this needs a client_auth_type that verifies:"
            " VerifyClientCertIfGiven or RequireAndVerifyClientCert",
            at=(*at, "certificates"),
        )

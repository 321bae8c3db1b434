"""TLS contexts for the listeners, made from the web configuration.

Python's ``ssl`` can't do everything that exporter-toolkit's format can ask for. `caveats`
returns the differences in words for the operator.
"""

import ipaddress
import math
import os
import re
import ssl
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

from pushgate.errors import StartupError
from pushgate.server.document import Section, Switch, check_known

VERSIONS: Mapping[str, ssl.TLSVersion] = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}

# Go's crypto/tls.CipherSuites(). Those of TLS 1.3 are always on, in Go and in OpenSSL.
TLS13_CIPHERS = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
CIPHERS: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}

# The response of Go's net/http to plain HTTP on a TLS port.
_SPEAK_TLS = (
    b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Length: 48\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)


_uri_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:").match


class ClientAuth(Enum):
    """The policy for client certificates, by its name in Go's crypto/tls."""

    NONE = "NoClientCert"
    REQUEST = "RequestClientCert"
    REQUIRE_ANY = "RequireAnyClientCert"
    VERIFY_IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRE_AND_VERIFY = "RequireAndVerifyClientCert"


_CLIENT_AUTH = {
    "": ClientAuth.NONE,
    "RequireClientCert": ClientAuth.REQUIRE_ANY,
    **{policy.value: policy for policy in ClientAuth},
}


class TlsConfig(Section, frozen=True, kw_only=True):
    """``tls_server_config``. A file wins over the text beside it.

    Once its files were read, *cert*, *key* and *client_ca* are their content.
    """

    cert: str = ""
    cert_file: str = ""
    key: str = ""
    key_file: str = ""
    client_ca: str = ""
    client_ca_file: str = ""
    client_auth_type: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = ""
    max_version: str = ""
    cipher_suites: tuple[str, ...] = ()
    curve_preferences: tuple[str, ...] = ()
    prefer_server_cipher_suites: Switch = Switch(True)

    def __post_init__(self) -> None:
        for version in filter(None, (self.min_version, self.max_version)):
            check_known("TLS version", version, VERSIONS)
        for cipher in self.cipher_suites:
            check_known("cipher", cipher, {*CIPHERS, *TLS13_CIPHERS})
        for curve in self.curve_preferences:
            check_known("curve", curve, CURVES)
        if not self.turns_tls_on:
            return
        for part in ("cert", "key"):
            if not getattr(self, part) and not getattr(self, f"{part}_file"):
                raise ValueError(f"missing one of {part} or {part}_file")
        if self.client_auth_type not in _CLIENT_AUTH:
            raise ValueError(f"invalid ClientAuth: {self.client_auth_type}")
        if self.names_authorities and self.client_auth is ClientAuth.NONE:
            raise ValueError("client CA's have been configured without a Client Auth Policy")

    @property
    def turns_tls_on(self) -> bool:
        """Whether there is TLS. As in the toolkit, the other keys alone mean nothing."""
        pem = (self.cert, self.cert_file, self.key, self.key_file)
        return any((*pem, self.names_authorities, self.client_auth_type))

    @property
    def names_authorities(self) -> bool:
        """Whether the authorities of clients are its own, not the system's.

        An empty file counts: it is not the absence of one.
        """
        return bool(self.client_ca or self.client_ca_file)

    @property
    def client_auth(self) -> ClientAuth:
        return _CLIENT_AUTH[self.client_auth_type]

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        """Whether client certificates are requested, and verified if there is one."""
        # Python's ssl can't request a certificate without verifying it. With a CA we verify
        # instead, which admits fewer clients than Go, never more. Without a CA, REQUEST means
        # that nothing is requested, and REQUIRE_ANY is refused.
        match self.client_auth:
            case ClientAuth.NONE:
                return ssl.CERT_NONE
            case ClientAuth.REQUEST:
                return ssl.CERT_OPTIONAL if self.client_ca else ssl.CERT_NONE
            case ClientAuth.VERIFY_IF_GIVEN:
                return ssl.CERT_OPTIONAL
            case ClientAuth.REQUIRE_ANY | ClientAuth.REQUIRE_AND_VERIFY:
                return ssl.CERT_REQUIRED


class Connection(ssl.SSLObject):
    """A connection that tells clients why a handshake failed, and checks their certificates.

    asyncio and uvloop drop a connection whose handshake raises, and with it the alert that
    OpenSSL has written for the client. So the first failure is reported as "wait for more
    data", which sends what is written. The next event, or the handshake timeout of the
    listener, then ends the connection.
    """

    allowed_sans: frozenset[str]
    outgoing: ssl.MemoryBIO
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Continue the handshake; raise like the base class, after the alert was sent."""
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._failure = error.with_traceback(None)
            if error.reason == "HTTP_REQUEST":
                self.outgoing.write(_SPEAK_TLS)
            if not self.outgoing.pending:
                raise
            raise ssl.SSLWantReadError from None
        certificate = self.getpeercert()
        # OpenSSL does not verify the certificate of a resumed session again.
        if time.time() >= valid_until(certificate):
            raise ssl.SSLCertVerificationError("the certificate of the client has expired")
        if self.allowed_sans and certificate and self.allowed_sans.isdisjoint(names(certificate)):
            raise ssl.SSLCertVerificationError("no name of the client is in client_allowed_sans")


class ServerContext(ssl.SSLContext):
    """A context whose connections check ``client_allowed_sans``."""

    sslobject_class = Connection
    allowed_sans: frozenset[str] = frozenset()

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *rest: Any, **options: Any
    ) -> Connection:
        """Return a new connection; asyncio and uvloop call this for each they accept."""
        connection = super().wrap_bio(incoming, outgoing, *rest, **options)
        assert isinstance(connection, Connection)
        connection.outgoing = outgoing
        connection.allowed_sans = self.allowed_sans
        return connection


class ListenerContext(ssl.SSLContext):
    """The context of a listener. New handshakes use the context in *current*.

    Replace *current* to rotate certificates or change any other setting. Open connections
    keep theirs.
    """

    # A listener keeps the context that it was given, and asks it for each new connection.
    current: ServerContext
    has_room: Callable[[], bool]
    """Returns whether one more connection may begin its handshake."""

    @classmethod
    def around(cls, current: ServerContext) -> "ListenerContext":
        """Return a listener's context that starts with *current*."""
        listener = cls(ssl.PROTOCOL_TLS_SERVER)
        listener.current = current
        listener.has_room = lambda: True
        return listener

    def wrap_bio(self, *arguments: Any, **options: Any) -> Connection:
        if not self.has_room():
            raise ssl.SSLError("too many connections")  # asyncio and uvloop close it at once
        return self.current.wrap_bio(*arguments, **options)


def server_context(config: TlsConfig) -> ServerContext:
    """Return a context for *config*; raise StartupError if certificate, key or CA can't be used."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.allowed_sans = frozenset(map(canonical_name, config.client_allowed_sans))
    # Clients that offer HTTP/2 as well then know that it is not spoken here.
    context.set_alpn_protocols(["http/1.1"])
    _limit_versions(context, config)
    if config.curve_preferences:
        context.set_ecdh_curve(CURVES[config.curve_preferences[0]])
    _load_pair(context, config)
    _verify_clients(context, config)
    return context


def caveats(config: TlsConfig) -> Iterator[str]:
    """Yield what *config* asks for and does not get, as lines for the log."""
    if len(config.curve_preferences) > 1:
        yield (
            f"curve_preferences: only {config.curve_preferences[0]} is offered;"
            " Python can set a single curve or keep OpenSSL's list"
        )
    if config.client_auth is ClientAuth.REQUIRE_ANY:
        yield "client_auth_type: RequireAnyClientCert is treated as RequireAndVerifyClientCert"
    if config.client_auth is ClientAuth.REQUEST and config.client_ca:
        yield "client_auth_type: RequestClientCert is treated as VerifyClientCertIfGiven"
    if config.client_auth is ClientAuth.REQUEST and not config.client_ca:
        yield "client_auth_type: RequestClientCert without a client CA is treated as NoClientCert"


def valid_until(peer_certificate: Mapping[str, Any] | None) -> float:
    """Return the Unix time at which *peer_certificate* expires; infinity if there is none.

    It is what ``getpeercert()`` returned.
    """
    end = peer_certificate.get("notAfter") if peer_certificate else None
    return ssl.cert_time_to_seconds(end) if end else math.inf


def names(peer_certificate: Mapping[str, Any]) -> frozenset[str]:
    """Return the DNS, e-mail, IP and URI names in what ``getpeercert()`` returned.

    Configured names have no kind of their own, so their form decides. Names that have the
    form of another kind are left out: the URI ``agent.example`` does not stand for the host
    of that name, nor the host ``10.0.0.1`` for that address.
    """
    entries = peer_certificate.get("subjectAltName", ())
    return frozenset(canonical_name(name) for kind, name in entries if kind == _kind(name))


def _kind(name: object) -> str:
    """Return the kind of name that *name* looks like, as ``getpeercert()`` calls it."""
    if not isinstance(name, str):
        return ""  # the fields of a directory name
    if _ip_address(name):
        return "IP Address"
    if _uri_scheme(name):
        return "URI"
    return "email" if "@" in name else "DNS"


def canonical_name(name: str) -> str:
    """Return *name* as `names` does: IPv6 addresses have many spellings."""
    return _ip_address(name) or name


def _ip_address(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip()))  # OpenSSL writes IPv6 in its own way
    except ValueError:
        return ""


def _limit_versions(context: ssl.SSLContext, config: TlsConfig) -> None:
    minimum = VERSIONS[config.min_version or "TLS12"]
    maximum = VERSIONS[config.max_version or "TLS13"]
    chosen = ":".join(CIPHERS[name] for name in config.cipher_suites if name in CIPHERS)
    # OpenSSL 3 allows TLS 1.0 and 1.1 only at security level 0.
    level = ":@SECLEVEL=0" if minimum < ssl.TLSVersion.TLSv1_2 else ""
    if config.cipher_suites and not chosen:
        minimum = ssl.TLSVersion.TLSv1_3  # what is left when no older suite may be used
    if minimum > maximum:
        raise StartupError(
            f"tls_server_config allows no TLS version: the lowest is {minimum.name},"
            f" the highest {maximum.name}; change min_version, max_version"
            " or cipher_suites"
        )
    with warnings.catch_warnings():  # old versions are off unless the operator asks for them
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = minimum
        context.maximum_version = maximum
    if chosen or level:
        context.set_ciphers((chosen or "DEFAULT") + level)


def _load_pair(context: ssl.SSLContext, config: TlsConfig) -> None:
    for part, pem in (("certificate", config.cert), ("key", config.key)):
        if "-----BEGIN" not in pem:
            raise _bad_pair(f"failed to find any PEM data in {part} input")
    if "ENCRYPTED" in config.key:
        raise _bad_pair("the key is encrypted; give it without a password")
    with _as_file(config.cert) as certificate, _as_file(config.key) as key:
        try:
            # Without a password argument, OpenSSL would ask on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise _bad_pair("private key does not match public key") from None
            raise _bad_pair(f"{error.reason or 'not usable'}".lower().replace("_", " ")) from None


def _bad_pair(reason: str) -> StartupError:
    return StartupError(f"failed to load X509KeyPair: tls: {reason}")


@contextmanager
def _as_file(pem: str) -> Iterator[str]:
    """Yield the name of a file in memory for *pem*: ``load_cert_chain`` takes nothing else."""
    with os.fdopen(os.memfd_create("pem"), "wb") as memory:
        memory.write(pem.encode())
        memory.flush()
        yield f"/proc/self/fd/{memory.fileno()}"


def _verify_clients(context: ssl.SSLContext, config: TlsConfig) -> None:
    if config.client_auth is ClientAuth.REQUIRE_ANY and not config.client_ca:
        raise StartupError(
            "client_auth_type RequireAnyClientCert needs client_ca or client_ca_file here:"
            " an unverified certificate proves nothing"
        )
    context.verify_mode = config.verify_mode
    if context.verify_mode is ssl.CERT_NONE:
        return
    # Without tickets a returning client is verified again, with its whole chain. TLS 1.2 can
    # still resume by session id, for minutes; for that Connection.do_handshake looks at the date.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    # As in Go, an intermediate in client_ca is trusted by itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not config.names_authorities:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        # A bundle may have comments in any script, but cadata has to be ASCII.
        context.load_verify_locations(cadata=config.client_ca.encode("ascii", "ignore").decode())
    except (ssl.SSLError, ValueError):
        raise StartupError("client_ca contains no usable certificate") from None

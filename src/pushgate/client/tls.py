"""TLS contexts from files that may be replaced while the program runs."""

import os
import ssl
from dataclasses import dataclass
from functools import lru_cache

from pushgate.client.log import log
from pushgate.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class TLS:
    """The TLS options of a connection. None of them is global to the process."""

    verify: bool = True
    ca_file: str | None = None
    ca_path: str | None = None
    ca_data: str | bytes | None = None
    client_cert: tuple[str, ...] | None = None
    """Files of certificate and key, and the key's password."""
    context: ssl.SSLContext | None = None
    server_hostname: str | None = None


def context_for(tls: TLS) -> ssl.SSLContext:
    """Return the context for *tls*: the same one until one of its files changes.

    Raises:
        ConfigurationError: A file cannot be read or is no certificate.
    """
    if tls.context is not None:
        return tls.context
    files = tuple(path for path in (tls.ca_file, *(tls.client_cert or ())[:2]) if path)
    try:
        return _context(tls, tuple(os.stat(path).st_mtime_ns for path in files))  # noqa: PTH116
    except ValueError as error:  # an ssl.SSLError is one too
        raise ConfigurationError(f"TLS cannot be set up: {error}", key="ca_file") from error
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        raise ConfigurationError(f"TLS cannot be set up: {what}", key="ca_file") from error


# The versions of the files are a part of the key: a replaced file makes a new context.
@lru_cache(maxsize=32)
def _context(tls: TLS, versions: tuple[int, ...]) -> ssl.SSLContext:  # noqa: ARG001  cache key
    data = tls.ca_data.encode() if isinstance(tls.ca_data, str) else tls.ca_data
    pem = data.decode("ascii") if data and data.lstrip().startswith(b"-----BEGIN") else data
    context = ssl.create_default_context(cafile=tls.ca_file, capath=tls.ca_path, cadata=pem)
    if not tls.verify:
        log.warning("TLS certificates of the gateway are not verified (verify=False).")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.client_cert:
        context.load_cert_chain(*tls.client_cert)
    return context

"""TLS on top of any stream. A context is made anew when one of its files has been replaced."""

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, lru_cache, partial
from stat import S_ISFIFO
from typing import IO, TypeVar

from pushgate.client.options import Options
from pushgate.client.sockets import PIECE, DeadlineSocket
from pushgate.errors import ConfigurationError
from pushgate.log import log
from pushgate.properties.files import read_file

_Result = TypeVar("_Result")


def context_for(options: Options) -> ssl.SSLContext:
    """Return the context for the TLS options: the same one until one of its files changes.

    Raises:
        ConfigurationError: A file cannot be read or is no certificate.
    """
    if options.ssl_context is not None:
        return options.ssl_context
    ca_file, ca_path = (
        None if path is None else os.fspath(path) for path in (options.ca_file, options.ca_path)
    )
    client_cert = tuple(os.fspath(path) for path in options.client_cert or ())
    # OpenSSL takes several directories, and passes over those that are missing, even if all are.
    directories = [] if ca_path is None else ca_path.split(os.pathsep)
    present = list(filter(os.path.isdir, directories)) or directories
    files = [path for path in (ca_file, *present, *client_cert[:2]) if path is not None]
    try:
        # The versions of the files are a part of the key: a replaced file makes a new context.
        versions = tuple(os.stat(path).st_mtime_ns for path in files)
        return _context(options.verify, ca_file, ca_path, options.ca_data, client_cert, versions)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        where = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        raise ConfigurationError(f"TLS cannot be set up: {what}{where}", key="ca_file") from error


# Shared by the gateways of a process: loading the authorities of the system takes 20 ms.
@lru_cache(maxsize=32)
def _context(
    verify: bool,  # noqa: FBT001  a part of the cache's key
    ca_file: str | None,
    ca_path: str | None,
    ca_data: str | bytes | None,
    client_cert: tuple[str, ...],
    versions: tuple[int, ...],  # noqa: ARG001  a part of the cache's key
) -> ssl.SSLContext:
    certificates = None if ca_data is None else _certificates(ca_data)
    with ExitStack() as copies:
        trusted = None if ca_file is None else _readable(ca_file, copies)
        with _named(ca_file, ca_path):
            context = ssl.create_default_context(
                cafile=trusted, capath=ca_path, cadata=certificates
            )
        if client_cert:
            certificate, key = (_readable(path, copies) for path in client_cert[:2])
            with _named(*client_cert[:2]):
                # Without a function, OpenSSL would ask for a password at the terminal.
                context.load_cert_chain(certificate, key, *client_cert[2:] or [_no_password])
    if not verify:
        log("warning", "TLS certificates of the gateway are not verified.")
        # In this order: CERT_NONE is refused while host names are checked.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _named(*paths: str | None) -> Iterator[None]:
    """Name *paths* in an error of OpenSSL, whose own words are such as "PEM lib"."""
    try:
        yield
    except OSError as error:
        error.filename = " and ".join(path for path in paths if path is not None) or None
        raise


def _readable(path: str, copies: ExitStack) -> str:
    """Return a path where OpenSSL can read the file at *path*, until *copies* are closed."""
    # It would wait for the writer of a pipe, however long, and could not read it a second time.
    if not S_ISFIFO(os.stat(path).st_mode):
        return path
    content = read_file(path)
    copy: IO[bytes]
    if hasattr(os, "memfd_create"):  # not on a disk: it may be a private key
        copy = copies.enter_context(open(os.memfd_create("pushgate"), "w+b"))  # noqa: SIM115
    else:
        from tempfile import TemporaryFile  # slow to import

        copy = copies.enter_context(TemporaryFile())  # noqa: SIM115
    copy.write(content)
    copy.seek(0)  # also writes what is buffered
    return f"/dev/fd/{copy.fileno()}"


def _no_password() -> str:
    raise ValueError("the key of the client certificate is encrypted, and there is no password")


def _certificates(data: str | bytes) -> str | bytes:
    """Return *data* as the ssl module takes it: PEM as text, DER as bytes."""
    if not data:  # the ssl module would trust the authorities of the system
        raise ValueError("no certificate found")
    written = data.encode() if isinstance(data, str) else data
    # The comments beside certificates need not be ASCII, as the ssl module wants them.
    return written.decode("ascii", "ignore") if b"-----BEGIN" in written else written


default_context = cache(ssl.create_default_context)
"""Returns the context for a proxy: the authorities of the system."""


class Tls:
    """TLS on top of *below*, which may be TLS itself: that of the proxy, around the gateway's."""

    def __init__(
        self, context: ssl.SSLContext, hostname: str, below: "DeadlineSocket | Tls"
    ) -> None:
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=hostname)
        self._below = below

    async def handshake(self) -> None:
        """Agree on keys and verify the certificate; raise an ssl.SSLError otherwise."""
        await self._carry(self._tls.do_handshake)

    async def write(self, data: bytes) -> None:
        while data:
            written = await self._carry(partial(self._tls.write, data))
            data = data[written:]

    async def read(self) -> bytes:
        try:
            return await self._carry(partial(self._tls.read, PIECE))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # Many servers close without close_notify (RFC 8446, 6.1). An answer that was cut off
            # is noticed all the same: HTTP knows where it ends.
            return b""

    async def _carry(self, call: Callable[[], _Result]) -> _Result:
        """Return what *call* returns, once enough has been sent and received for it."""
        # OpenSSL never waits to write: the memory for that grows as needed.
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._below.read()
                if data:
                    self._received.write(data)
                else:
                    self._received.write_eof()
            except ssl.SSLError:
                with suppress(OSError):  # the alert tells the other side why
                    await self._flush()
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._to_send.pending:
            await self._below.write(self._to_send.read())

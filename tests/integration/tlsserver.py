"""A running server whose web configuration is replaced under it, and clients that speak TLS."""

import base64
import signal
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import services
from tests.exchange import Answer, ask
from tests.waiting import until

RELOADED = "web configuration reloaded"
REFUSED = "Unable to parse configuration"


class Configured:
    """A server process, and the file that configures it."""

    def __init__(self, service: services.Service, file: Path) -> None:
        self.service = service
        self.port = service.port
        self.file = file

    def configure(self, text: str, *, expect: str = RELOADED) -> None:
        """Replace the configuration, hang up, and wait until the log says *expect*."""
        write(self.file, text)
        self.hang_up(expect)

    def hang_up(self, expect: str = RELOADED) -> None:
        before = self.log.count(expect)
        self.service.process.send_signal(signal.SIGHUP)
        self.wait_for_log(expect, before + 1)

    @property
    def log(self) -> str:
        return self.service.log.read_text()

    def wait_for_log(self, message: str, times: int = 1) -> None:
        until(lambda: self.log.count(message) >= times, reason=f"not logged: {message}")


def write(file: Path, text: str) -> None:
    """Replace *file* at once, so that nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


@contextmanager
def configured(file: Path, text: str, *flags: str) -> Iterator[Configured]:
    """Our server with the web configuration *text* in *file*."""
    write(file, text)
    with services.pushgate(f"--web.config.file={file}", *flags) as service:
        yield Configured(service, file)


def ask_tls(
    port: int,
    context: ssl.SSLContext,
    method: str = "GET",
    target: str = "/-/ready",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    return ask(port, method, target, body, headers, tls=context)


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}

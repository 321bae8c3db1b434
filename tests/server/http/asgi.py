"""A site in memory, and requests to its application without a connection between."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from pushgate.server.compose import compose
from pushgate.server.settings import Settings
from pushgate.server.storage.journal import Journal


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    chunks: int

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Served:
    """An application and what is behind it."""

    settings: Settings = field(default_factory=Settings)
    journal: Journal | None = None
    web_config: Path | None = None
    quits: int = 0

    def __post_init__(self) -> None:
        settings = replace(self.settings, web_config_file=str(self.web_config or ""))
        self.app = compose(settings, journal=self.journal, quit=self._quit)
        self.context = self.app.context
        self.telemetry, self.gateway = self.context.telemetry, self.context.gateway
        self.store = self.gateway.store

    def _quit(self) -> None:
        self.quits += 1

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Returns the answer to one request, in an event loop of its own."""
        return asyncio.run(self.asked(method, target, body, headers))

    async def asked(
        self,
        method: str,
        target: str,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        raw_path, _, query = target.encode("utf-8", "surrogateescape").partition(b"?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw_path.decode("latin-1"), errors="replace"),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "client": ("127.0.0.1", 4711),
            "server": ("127.0.0.1", 9091),
            "headers": list(_encoded(headers or {})),
            "state": {},
        }
        content = body.encode() if isinstance(body, str) else body
        incoming = iter([{"type": "http.request", "body": content, "more_body": False}])
        sent = []

        async def receive():
            return next(incoming, None) or await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        return _response(sent)

    def counted(self) -> set[str]:
        """The requests counted so far, as ``code handler method``."""
        text = self.ask("GET", self.settings.telemetry_path).text
        name = "pushgateway_http_requests_total{"
        lines = [line.split('"')[1::2] for line in text.splitlines() if line.startswith(name)]
        return {" ".join(values) for values in lines}


def _encoded(headers: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
    return ((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items())


def _response(sent: list) -> Response:
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert all(message["type"] == "http.response.body" for message in bodies)
    assert [message.get("more_body", False) for message in bodies] == [
        *[True] * (len(bodies) - 1),
        False,
    ]
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    body = b"".join(message.get("body", b"") for message in bodies)
    return Response(start["status"], headers, body, len(bodies))

"""GET of the telemetry path: all metrics, in the format and encoding that were asked for."""

import time
from collections.abc import Iterable, Iterator
from typing import Final

from starlette.types import Receive, Scope, Send

from pushgate.formats.encoding import Encoding, Gzip, Identity, Zstd
from pushgate.formats.negotiation import accepted_encoding, accepted_format
from pushgate.server.http.context import AppContext
from pushgate.server.http.push import find_header
from pushgate.server.http.stream import in_steps

_ENCODINGS: Final[dict[str, Encoding]] = {
    encoding.token: encoding for encoding in (Identity(), Gzip(), Zstd())
}
# What is written to a connection at a time: that much is copied for a client that does not read.
_CHUNK_BYTES = 256 << 10


async def scrape(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
    """Answer with an exposition; other requests are served while it is made."""
    headers = scope["headers"]
    kind = accepted_format(find_header(headers, b"accept"))
    lines = tuple(value for name, value in headers if name == b"accept-encoding")
    coding = accepted_encoding(lines)
    kept = context.views.get(kind, _ENCODINGS[coding], time.monotonic())
    async with kept.lock:
        chunks = await in_steps(kept.exposition.scrape())
    start = [
        (b"content-type", kind.content_type),
        (b"content-length", b"%d" % sum(map(len, chunks))),
    ]
    if coding:
        start.append((b"content-encoding", coding.encode()))
    await send({"type": "http.response.start", "status": 200, "headers": start})
    for chunk in _joined(chunks):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _joined(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *chunks* in others of about the same size, without ever joining them all."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        for start in range(0, len(chunk), _CHUNK_BYTES):
            held.append(chunk[start : start + _CHUNK_BYTES])
            size += len(held[-1])
            if size >= _CHUNK_BYTES:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)

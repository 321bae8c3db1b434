"""Requests as bytes, and the rows of the abuse table."""

import gzip as _gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent on a connection of its own."""

    method: str
    target: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def wire(self, *, close: bool = True) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: gateway"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"Content-Length: {len(self.body)}"] if self.body else []
        lines += ["Connection: close"] if close else []
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def get(target: str, **headers: str) -> Request:
    return Request("GET", target, headers=_headers(headers))


def put(target: str, body: bytes, **headers: str) -> Request:
    return Request("PUT", target, body, _headers(headers))


def post(target: str, body: bytes, **headers: str) -> Request:
    return Request("POST", target, body, _headers(headers))


def patch(target: str, body: bytes, **headers: str) -> Request:
    return Request("PATCH", target, body, _headers(headers))


def delete(target: str) -> Request:
    return Request("DELETE", target)


def gzipped(target: str, body: bytes) -> Request:
    return put(target, _gzip.compress(body, 6), Content_Encoding="gzip")


def _headers(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())


@dataclass(frozen=True, slots=True)
class Row:
    """An adversarial request, the status that it must get, what is stored before it, and flags.

    Bodies are large, so both are functions: a row is made when it is run.
    """

    name: str
    request: Callable[[], Request]
    status: int
    stored: Callable[[], Iterable[Request]] = tuple
    flags: tuple[str, ...] = ()

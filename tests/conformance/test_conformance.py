"""Recorded exchanges of the Go Pushgateway 1.11.3, replayed against a running server.

The server is ours, in memory only. PUSHGATE_CONFORMANCE_COMMAND points the suite at any
other, its port written as ``{port}``; against the Go server itself the
scenarios that we answer differently on purpose are replayed too.

Compared per step: status; the headers a client acts on; the first line of an error body; the
pushed part of the exposition afterwards, times masked. Samples of one family may come in any
order where a scenario has several groups, and ``Allow`` may name HEAD and OPTIONS or not.
Scenarios marked ``differs`` are those that are answered differently on purpose.
"""

import base64
import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import services
from tests.exchange import methods
from tests.exposition import pushed_part, with_sorted_samples
from tests.waiting import until

COMMAND = shlex.split(os.environ.get("PUSHGATE_CONFORMANCE_COMMAND", ""))
COMPARED_HEADERS = (
    "allow",
    "content-type",
    "location",
    "www-authenticate",
    "x-content-type-options",
)
EXPOSITIONS = {
    "exposition_after": {},
    "exposition_after_allow_utf8": {"Accept": "text/plain;version=0.0.4;escaping=allow-utf-8"},
}


def is_the_reference() -> bool:
    if not COMMAND:
        return False
    version = subprocess.run([COMMAND[0], "--version"], capture_output=True, text=True, check=False)
    return "go version:" in version.stdout


REFERENCE = is_the_reference()
# The reference visits groups and families in random order, and one message can depend on it.
TRIES = 10 if REFERENCE else 1


def scenarios() -> list:
    """What to replay, sorted so that the scenarios of one set of flags share a server."""
    recorded = json.loads(Path(__file__).with_name("vectors.json").read_text())
    replayed = [one for one in recorded if REFERENCE or "differs" not in one]
    replayed.sort(key=lambda scenario: scenario["flags"])
    return [pytest.param(tuple(one["flags"]), one, id=one["name"]) for one in replayed]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def first_line(self) -> str:
        return self.body.decode("utf-8", "replace").split("\n", 1)[0]


class Subject:
    """The server under test, for one set of flags."""

    def __init__(self, flags: tuple[str, ...]) -> None:
        prefixes = [flag.partition("=")[2] for flag in flags if "route-prefix=" in flag]
        self.prefix = prefixes[0] if prefixes else ""
        self.flags = ("--web.enable-admin-api", *flags)
        self.running = ExitStack()
        self.start()

    def start(self) -> None:
        if COMMAND:
            ready = self.prefix + "/-/ready"
            started = services.running([*COMMAND, *self.flags], ready=ready)
        else:
            started = services.pushgate(*self.flags)
        self.service = self.running.enter_context(started)

    def empty(self) -> None:
        """Drops every group; starts the server again if the last scenario ended it."""
        if self.service.process.poll() is not None:
            self.start()
        wiped = self.ask("PUT", self.prefix + "/api/v1/admin/wipe")
        assert wiped is not None
        assert wiped.status == 202
        until(lambda: not self.exposition({}), reason="the wipe had no effect")

    def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer | None:
        """One request on a connection of its own, its target sent as it stands."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{self.service.port}"]
        lines += ["Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body or method in {"POST", "PUT"}:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
        return parsed(exchanged(self.service.port, head + body))

    def exposition(self, headers: Mapping[str, str]) -> list[str]:
        """The pushed part, line by line."""
        answer = self.ask("GET", self.prefix + "/metrics", headers)
        if answer is None:
            return ["<no response>"]
        if answer.status != 200:
            return [f"<status {answer.status}>", answer.first_line]
        return pushed_part(answer.body.decode("utf-8", "backslashreplace"))


def exchanged(port: int, request: bytes) -> bytes:
    """Everything the server sends until it closes or breaks the connection."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionError, TimeoutError):
            pass
    return bytes(received)


def parsed(response: bytes) -> Answer | None:
    if not response:
        return None
    head, _, body = response.partition(b"\r\n\r\n")
    status_line, *fields = head.decode("latin-1").split("\r\n")
    headers = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join(chunks(body))
    return Answer(int(status_line.split()[1]), headers, body)


def chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        yield body[:length]
        body = body[length + 2 :] if length else b""


def request_body(step: dict) -> bytes:
    if "body_base64" in step:
        return base64.b64decode(step["body_base64"])
    return step.get("body", "").encode("utf-8", "surrogateescape")


def answer_differences(step: dict, answer: Answer, *, compare_message: bool) -> Iterator[str]:
    expected = step["expect"]
    if answer.status != expected["status"]:
        yield f"status {answer.status}, not {expected['status']}"
    for name in COMPARED_HEADERS:
        wanted = expected.get("headers", {}).get(name)
        got = answer.headers.get(name)
        same = methods(got) == methods(wanted) if name == "allow" else got == wanted
        if wanted is not None and not same:
            yield f"header {name} {got!r}, not {wanted!r}"
    wanted = (expected.get("body") or "").split("\n", 1)[0]
    is_error = expected["status"] >= 400 and step["method"] != "HEAD"
    if compare_message and is_error and answer.first_line != wanted:
        yield f"first line {answer.first_line!r}, not {wanted!r}"


def exposition_differences(step: dict, subject: Subject, *, any_order: bool) -> Iterator[str]:
    for key in EXPOSITIONS.keys() & step.keys():
        got, wanted = subject.exposition(EXPOSITIONS[key]), step[key]
        if got == wanted or (any_order and with_sorted_samples(got) == with_sorted_samples(wanted)):
            continue
        missing = [line for line in wanted if line not in got]
        extra = [line for line in got if line not in wanted]
        yield (
            f"{key}: missing {missing[:3]}, extra {extra[:3]}"
            if missing or extra
            else (f"{key}: another order: {got}")
        )


def differences(subject: Subject, scenario: dict) -> Iterator[str]:
    deterministic = not scenario.get("nondeterministic")
    several_groups = len({step["target"] for step in scenario["steps"]}) > 1
    for number, step in enumerate(scenario["steps"], start=1):
        answer = subject.ask(
            step["method"], step["target"], step.get("headers"), request_body(step)
        )
        if step["expect"].get("no_response"):
            continue  # the original hangs up here: any answer is better
        found = ["no response"]
        if answer is not None:
            found = list(answer_differences(step, answer, compare_message=deterministic))
            if deterministic:
                found += exposition_differences(step, subject, any_order=several_groups)
        for difference in found:
            yield f"step {number}, {step['method']} {step['target']}: {difference}"


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    subject = Subject(request.param)
    with subject.running:
        yield subject


@pytest.mark.conformance
@pytest.mark.parametrize(("subject", "scenario"), scenarios(), indirect=["subject"], scope="module")
def test_the_server_answers_as_recorded(subject: Subject, scenario: dict):
    for _ in range(TRIES):
        subject.empty()
        found = list(differences(subject, scenario))
        if not found:
            break

    assert found == []

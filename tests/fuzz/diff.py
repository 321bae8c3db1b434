"""Differential fuzzing: the same pushes to Pushgate and to the Go Pushgateway 1.11.3.

Sends cases, short sequences of PUT, POST and DELETE, to both servers and
compares after each request the status, the redirect, the first line of an error and the
exposition. A difference is shrunk and printed, once per kind; the exit status is then 1.

What the reference leaves to chance is compared loosely: which of several problems a message names
when several groups or families take part, and which group's HELP wins. Deliberate differences are
listed in known.py.
"""

import argparse
import http.client
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from tests import services
from tests.delimited import PROTOBUF
from tests.exposition import OWN_METRIC, pushed_part, with_sorted_samples
from tests.fuzz import schema
from tests.fuzz.generate import Generator, Request
from tests.fuzz.known import grouping_key, is_intact, known, plain_body

TEXT = "text/plain;version=0.0.4"
EXPOSITIONS = {"text": TEXT + ";escaping=allow-utf-8", "escaped": TEXT, "protobuf": PROTOBUF}
ADMIN = "--web.enable-admin-api"
INCONSISTENT = "pushed metrics are invalid or inconsistent with existing metrics: "
SHRINKING = 5.0  # seconds for each difference


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees of one exchange. Without a response the status is None."""

    status: int | None
    location: str | None = None
    body: bytes = b""

    @property
    def message(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def first_line(self) -> str:
        line = self.message.split("\n", 1)[0].replace("\xa0", " ")
        line = re.sub(r"\bsample_(count|sum):0(?= |\})", "", line)  # D18: absent is shown as 0
        line = line.replace("{ ", "{").replace(" }", "}")
        return re.sub("  +", " ", line)  # the reference's build decides on one blank or two


@dataclass(frozen=True, slots=True)
class Difference:
    """Two servers disagree after the last of *requests*."""

    requests: tuple[Request, ...]
    what: str
    ours: object
    reference: object

    @property
    def kind(self) -> str:
        """The same for differences that are most likely one."""
        shown = f"{self.what}: {self.ours!s:.70} / {self.reference!s:.70}"
        return re.sub(r'"[^"]*"|\d+', "_", shown)

    def __str__(self) -> str:
        lines = [
            f"{request.method} {request.target} {request.headers or ''} {request.body!r}"
            for request in self.requests
        ]
        return "\n".join(
            [
                *lines,
                f"  {self.what}",
                f"    ours:      {self.ours}",
                f"    reference: {self.reference}",
            ]
        )


class Server:
    def __init__(self, service: services.Service) -> None:
        self.service = service
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)

    def ask(self, request: Request) -> Answer:
        """Sends *request* as it stands; raises ChildProcessError when that ends the server."""
        try:
            return self.exchange(request)
        except (OSError, http.client.HTTPException):
            self.connection.close()
            if self.service.process.poll() is not None:
                raise ChildProcessError(f"{self.service.process.args} is gone") from None
            return Answer(None)

    def exchange(self, request: Request) -> Answer:
        self.connection.putrequest(request.method, request.target, skip_accept_encoding=True)
        for name, value in request.headers.items():
            self.connection.putheader(name, value)
        self.connection.putheader("Content-Length", str(len(request.body)))
        self.connection.endheaders(request.body)
        response = self.connection.getresponse()
        return Answer(response.status, response.getheader("Location"), response.read())

    def wipe(self) -> None:
        self.ask(Request("PUT", "/api/v1/admin/wipe"))

    def exposition(self, accept: str, *, with_help: bool) -> list[str]:
        answer = self.ask(Request("GET", "/metrics", headers={"Accept": accept}))
        if answer.status != 200:
            return [f"<status {answer.status}>"]
        if accept == PROTOBUF:
            return normal_protobuf(answer.body, with_help=with_help)
        return normal(answer.message, with_help=with_help)


def normal(exposition: str, *, with_help: bool) -> list[str]:
    """The pushed lines, times masked, the samples of each family sorted."""
    lines = with_sorted_samples(pushed_part(exposition))
    return [line for line in lines if with_help or not line.startswith("# HELP ")]


def normal_protobuf(exposition: bytes, *, with_help: bool) -> list[str]:
    """The same for delimited protobuf; each metric is a line of its own."""
    lines = []
    for _, body in schema.lengths_and_bodies(exposition):
        family = schema.MetricFamily.FromString(body)
        name = family.name.decode("utf-8", "replace")
        if OWN_METRIC.match(name):
            continue
        for metric in family.metric:
            if name in {"push_time_seconds", "push_failure_time_seconds"} and metric.gauge.value:
                metric.gauge.value = 1
        lines.append(f"{name} {family.type} {family.help if with_help else ''}")
        lines += sorted(" ".join(str(metric).split()) for metric in family.metric)
    return lines


def is_random(one: Answer, other: Answer, *, several_groups: bool) -> bool:
    """Whether the reference may word this refusal differently the next time."""
    both = (one.message, other.message)
    if not all(message.startswith(INCONSISTENT) for message in both):
        return False
    return several_groups or any("collides with" in message for message in both)


class Pair:
    """Ours and the reference, running with the same flags."""

    def __init__(
        self,
        ours: services.Service,
        reference: services.Service,
        expositions: Sequence[str] = ("text", "escaped"),
    ) -> None:
        self.ours, self.reference = Server(ours), Server(reference)
        self.expositions = expositions

    def close(self) -> None:
        self.ours.connection.close()
        self.reference.connection.close()

    def difference(self, requests: list[Request]) -> Difference | None:
        """The first difference that *requests* bring to light, from an empty store."""
        self.ours.wipe()
        self.reference.wipe()
        for number in range(len(requests)):
            so_far = requests[: number + 1]
            found = self.compare_answers(so_far) or self.compare_expositions(so_far)
            if found:
                return Difference(tuple(so_far), *found)
        return None

    def compare_answers(self, requests: list[Request]) -> tuple[str, object, object] | None:
        ours, reference = self.ours.ask(requests[-1]), self.reference.ask(requests[-1])
        if reference.status is None:
            # The reference fell over: any clean refusal is better.
            clean = ours.status is not None and 400 <= ours.status < 500
            return None if clean else ("answer to what breaks the reference", ours, reference)
        if ours.status != reference.status:
            return "status", ours, reference
        if ours.location != reference.location:
            return "redirect", ours.location, reference.location
        if reference.status >= 400 and ours.first_line != reference.first_line:
            if is_random(ours, reference, several_groups=several_groups(requests)):
                return None
            if not is_intact(requests[-1]):
                return None  # the reference parses while it inflates: the parser may fail first
            return "first line", ours.first_line, reference.first_line
        return None

    def compare_expositions(self, requests: list[Request]) -> tuple[str, object, object] | None:
        with_help = not several_groups(requests)
        for name in self.expositions:
            accept = EXPOSITIONS[name]
            for pause in (0.01, 0.03, 0.1, 0.3, 1, 0):
                # Deletes and wipes take effect a moment after the answer.
                ours = self.ours.exposition(accept, with_help=with_help)
                reference = self.reference.exposition(accept, with_help=with_help)
                if ours == reference:
                    break
                time.sleep(pause)
            else:
                return name, *apart(ours, reference)
        return None


def several_groups(requests: list[Request]) -> bool:
    return len({grouping_key(request.target) for request in requests}) > 1


def apart(ours: list[str], reference: list[str]) -> tuple[list[str], list[str]]:
    """Only the lines that the other doesn't have; everything if it is the order."""
    only_ours = [line for line in ours if line not in reference]
    only_reference = [line for line in reference if line not in ours]
    if only_ours or only_reference:
        return only_ours, only_reference
    return ours, reference


def shrunk(pair: Pair, found: Difference) -> Difference:
    """A smaller case with the same kind of difference, as far as time allows."""
    deadline = time.monotonic() + SHRINKING
    smaller = True
    while smaller:
        smaller = False
        for requests in reductions(found.requests):
            if time.monotonic() > deadline:
                return found
            again = pair.difference(requests)
            if again and again.what == found.what and size(again) < size(found):
                found, smaller = again, True
                break
    return found


def size(found: Difference) -> int:
    return sum(100 + len(request.headers) + len(plain_body(request)) for request in found.requests)


def reductions(requests: tuple[Request, ...]) -> Iterator[list[Request]]:
    """The same case with less: a request, a line or a piece of a body left out."""
    for number in range(len(requests) - 1):
        yield [*requests[:number], *requests[number + 1 :]]
    for number, request in enumerate(requests):
        if "Content-Encoding" in request.headers and is_intact(request):
            yield [*requests[:number], uncompressed(request), *requests[number + 1 :]]
        for body in smaller_bodies(request.body):
            smaller = replace(request, body=body)
            yield [*requests[:number], smaller, *requests[number + 1 :]]


def uncompressed(request: Request) -> Request:
    headers = {name: value for name, value in request.headers.items() if name != "Content-Encoding"}
    return replace(request, body=plain_body(request), headers=headers)


def smaller_bodies(body: bytes) -> Iterator[bytes]:
    lines = body.splitlines(keepends=True)
    for number in range(len(lines)):
        yield b"".join(lines[:number] + lines[number + 1 :])
    length = len(body) // 2
    while length:
        for start in range(0, len(body), length):
            yield body[:start] + body[start + length :]
        length //= 2


def case(seed: str, skipped: Counter[str]) -> list[Request]:
    """The requests of one case, up to the first one that is known to differ."""
    requests: list[Request] = []
    for request in Generator(seed).case():
        identity = known(request, requests)
        if identity:
            skipped[identity] += 1
            break
        requests.append(request)
    return requests


def fuzz(
    pairs: list[Pair], cases: Iterator[str], *, until: float, tell: Callable[[str], None]
) -> int:
    """Compares case after case; returns how many kinds of differences there were."""
    skipped: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    requests = 0
    for seed in cases:
        if time.monotonic() > until:
            break
        pair = pairs[random.Random(seed).randrange(len(pairs))]
        sent = case(seed, skipped)
        requests += len(sent)
        try:
            found = pair.difference(sent)
        except ChildProcessError as error:
            error.add_note(f"case {seed}: {sent}")
            raise
        if found:
            kinds[found.kind] += 1
            if kinds[found.kind] == 1:
                tell(f"--- case {seed}\n{shrunk(pair, found)}\n")
    left_out = ", ".join(f"{identity} {count}" for identity, count in sorted(skipped.items()))
    tell(f"{requests} requests, {len(kinds)} kinds of differences in {kinds.total()} cases")
    tell(f"left out as known: {left_out}")
    return len(kinds)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.diff", description=__doc__)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--case", help="only this one, as printed")
    parser.add_argument("--ours", help="another server to compare, instead of ours")
    parser.add_argument(
        "--expositions", default="text,escaped", help=f"what to compare, of {','.join(EXPOSITIONS)}"
    )
    given = parser.parse_args(arguments)
    tell = partial(print, flush=True)
    cases = iter([given.case]) if given.case else (f"{given.seed}:{n}" for n in range(10**9))
    with ExitStack() as running:
        pairs = [
            running.enter_context(compared(given.ours, given.expositions.split(","), *flags))
            for flags in ((ADMIN,), (ADMIN, "--push.enable-utf8-names"))
        ]
        tell(f"seed {given.seed}, {given.seconds:.0f} s")
        until = time.monotonic() + given.seconds
        return 1 if fuzz(pairs, cases, until=until, tell=tell) else 0


@contextmanager
def compared(program: str | None, expositions: Sequence[str], *flags: str) -> Iterator[Pair]:
    """Both servers, started with *flags*; *program* instead of ours, if there is one."""
    ours = services.pushgate(*flags)
    if program:
        ours = services.running([program, "--web.listen-address=127.0.0.1:{port}", *flags])
    with (
        ours as one,
        services.go_pushgateway(*flags) as other,
        closing(Pair(one, other, expositions)) as pair,
    ):
        yield pair


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

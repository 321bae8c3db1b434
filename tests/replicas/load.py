"""Clients that push, delete and scrape through several replicas, and note what they saw.

Each push has a number of its own as the value of its series. A job is written by three writers
at a time, and its families are of names that all jobs use, now as a gauge and now as a counter:
whether such a push is refused depends on all other jobs. The jobs ``sum…`` add up.
"""

import http.client
import itertools
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from tests.replicas.linear import Operation, State
from tests.server.pushes import key

RULES = """
rules:
  - match: '{job=~"sum.*"}'
    aggregate: {counter: sum}
"""
JOBS = 20
SUMS = 10
CONTESTED = 12
_ANSWERED_WITHIN = 30.0
_NEVER_SENT = "never sent"
_SAMPLE = re.compile(r"^([a-z]\w*)\{([^}]*)\} (\S+)$", re.MULTILINE)
_TYPE = re.compile(r"^# TYPE (\w+) (\w+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CONNECTED = re.compile(r"^pushgate_storage_connected (\S+)$", re.MULTILINE)

Series = tuple[str, ...]
"""A family, its type, and the value of its label, if it has one."""


@dataclass(slots=True)
class Request:
    """A push or delete, sent once or, with an idempotency key, until it is answered for good.

    ``statuses`` are the answers in order; None where there was none.
    """

    number: int
    job: str
    method: str
    series: dict[Series, str] = field(default_factory=dict)
    is_torn: bool = False
    once: str = ""
    began: float = 0.0
    ended: float = 0.0
    statuses: list[int | None] = field(default_factory=list)
    may_be_stored: bool = False

    @property
    def status(self) -> int | None:
        return self.statuses[-1]

    @property
    def name(self) -> str:
        """What tells it from others in the log."""
        return self.digest.hex() or str(self.number)

    @property
    def digest(self) -> bytes:
        """The idempotency key as the server keeps it, if there is one."""
        if not self.once:
            return b""
        group = blake2b(key(self.job).packed).digest()
        return blake2b(self.once.encode(), digest_size=16, key=group).digest()

    @property
    def path(self) -> str:
        return f"/metrics/job/{self.job}"

    @property
    def body(self) -> bytes:
        lines = []
        for family, of_family in itertools.groupby(self.series, key=lambda each: each[:2]):
            lines.append("# TYPE {} {}\n".format(*family))
            for each in of_family:
                labels = f'{{s="{each[2]}"}}' if each[2] else ""
                lines += [f"{each[0]}{labels} {self.series[each]}\n"] * (1 + self.is_torn)
        return "".join(lines).encode()

    def effect(self, before: State) -> State:
        """What the group shows afterwards."""
        pushed = frozenset(self.series.items())
        families = {family for family, *_ in self.series}
        match self.method:
            case "DELETE":
                return frozenset()
            case "PUT":
                return pushed
            case "PATCH":
                return frozenset(each for each in before if each[0] not in self.series) | pushed
            case "POST" if self.once:
                sums = Counter({name: int(value) for name, value in before})
                sums.update({name: int(value) for name, value in self.series.items()})
                return frozenset((name, str(value)) for name, value in sums.items())
            case _:
                return frozenset(each for each in before if each[0][0] not in families) | pushed

    def operation(self) -> Operation | None:
        """What is certain of it: None if it changed nothing."""
        is_done = self.status in {200, 202}
        if not is_done and not self.may_be_stored:
            return None
        return Operation(
            f"{self.method} {self.number}",
            self.began,
            self.ended if is_done else float("inf"),
            effect=self.effect,
            values=frozenset() if self.once else frozenset(self.series.values()),
        )


class Scrape(NamedTuple):
    """An answer to a scrape, and when it was asked for and complete."""

    began: float
    ended: float
    status: int | None
    text: str

    @property
    def is_current(self) -> bool:
        """Whether it claims to be up to date: without the database a replica may lag behind."""
        connected = _CONNECTED.search(self.text)
        return self.status == 200 and (connected is None or connected[1] == "1")

    def states(self) -> dict[str, State]:
        """What it shows of each job that has something."""
        return states(self.text)


def states(exposition: str) -> dict[str, State]:
    """Return what *exposition* shows of each job that has something."""
    types = dict(_TYPE.findall(exposition))
    found: dict[str, set[tuple[Series, str]]] = {}
    for name, labels, value in _SAMPLE.findall(exposition):
        pairs = dict(_LABEL.findall(labels))
        if "job" in pairs and not name.startswith("push_"):
            series = (name, types[name], pairs.get("s", ""))
            found.setdefault(pairs["job"], set()).add((series, str(int(float(value)))))
    return {job: frozenset(them) for job, them in found.items()}


def may_be_stored(status: int | None, text: str) -> bool:
    """Return whether a push that was answered so may have been stored, or may still be."""
    match status:
        case 200 | 202:
            return True
        case 503:
            return "unknown" in text
        case None:
            return text != _NEVER_SENT
        case _:
            return False


@dataclass(slots=True)
class Load:
    """*writers* and *scrapers* at work on the replicas at *ports*, until told to stop."""

    ports: Sequence[int]
    writers: int = 60
    scrapers: int = 10
    seed: int = 0
    pause: float = 0.02
    requests: list[Request] = field(default_factory=list)
    scrapes: list[Scrape] = field(default_factory=list)
    outages: Counter[str] = field(default_factory=Counter)
    """What was said with 503."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, meanwhile: Callable[[], object]) -> None:
        """Let everybody work while *meanwhile* runs."""
        with ThreadPoolExecutor(self.writers + self.scrapers) as pool:
            work = [pool.submit(self._write, number) for number in range(self.writers)]
            work += [pool.submit(self._scrape, number) for number in range(self.scrapers)]
            try:
                meanwhile()
            finally:
                self._stop.set()
            for each in work:
                each.result()

    def history(self) -> dict[str, list[Operation]]:
        """What happened to each job, as far as clients know."""
        jobs = [f"job{n}" for n in range(JOBS)] + [f"sum{n}" for n in range(SUMS)]
        found: dict[str, list[Operation]] = {job: [] for job in jobs}
        for request in self.requests:
            if operation := request.operation():
                found[request.job].append(operation)
        for scrape in self.scrapes:
            if scrape.is_current:
                shown = scrape.states()
                for job in jobs:
                    saw = shown.get(job, frozenset())
                    found[job].append(Operation("scrape", scrape.began, scrape.ended, saw=saw))
        return found

    def figures(self) -> str:
        """How many requests had which outcome."""
        statuses = Counter(str(status) for each in self.requests for status in each.statuses)
        stale = sum(each.status == 200 and not each.is_current for each in self.scrapes)
        scrapes = Counter(str(each.status) for each in self.scrapes)
        return (
            f"writes {dict(statuses)}, scrapes {dict(scrapes)}, {stale} of them without database; "
            f"{dict(self.outages.most_common(3))}"
        )

    def _write(self, writer: int) -> None:
        choose = random.Random(self.seed * 1000 + writer)
        with closing(_Line(self.ports, choose)) as line:
            while not self._stop.is_set():
                request = self._request(writer, choose)
                request.began = time.monotonic()
                self.requests.append(request)
                while True:
                    status, text = line.send(request)
                    request.statuses.append(status)
                    request.may_be_stored |= may_be_stored(status, text)
                    if status == 503:
                        self.outages[text.strip()] += 1
                    is_final = status is not None and status < 500
                    if is_final or not request.once or self._stop.is_set():
                        break
                    time.sleep(self.pause)
                request.ended = time.monotonic()
                time.sleep(choose.uniform(0, 2 * self.pause))

    def _request(self, writer: int, choose: random.Random) -> Request:
        number = next(self._numbers)
        value, job = str(number), f"job{writer % JOBS}"
        method = choose.choices(["PUT", "POST", "PATCH", "DELETE", "SUM"], [30, 24, 18, 10, 18])[0]
        if method == "DELETE":
            return Request(number, job, method)
        if method == "SUM":
            series = {("n_total", "counter", f"w{writer}"): "1"}
            return Request(number, f"sum{writer % SUMS}", "POST", series, once=f"{writer}-{number}")
        names: list[Series] = [("a", "gauge", "1"), ("a", "gauge", "2"), ("b", "gauge", "")]
        if method == "POST":
            names = choose.choice([names[:2], names[2:]])
        elif method == "PATCH":
            names = [choose.choice(names)]
        if choose.random() < 0.3:
            contested = f"c{choose.randrange(CONTESTED)}"
            names = [*names, (contested, choose.choice(["gauge", "counter"]), "")]
        is_torn = choose.random() < 0.05
        return Request(number, job, method, dict.fromkeys(names, value), is_torn)

    def _scrape(self, scraper: int) -> None:
        choose = random.Random(self.seed * 1000 + 500 + scraper)
        with closing(_Line(self.ports, choose)) as line:
            while not self._stop.is_set():
                began = time.monotonic()
                status, text = line.get("/metrics")
                self.scrapes.append(Scrape(began, time.monotonic(), status, text))
                time.sleep(choose.uniform(0, 0.1))


class _Line:
    """A client's connection to a replica; after a failure, and now and then, to another one."""

    def __init__(self, ports: Sequence[int], choose: random.Random) -> None:
        self._ports = ports
        self._choose = choose
        self._connection: http.client.HTTPConnection | None = None

    def send(self, request: Request) -> tuple[int | None, str]:
        """Return the status and text of the answer; no status if there was none."""
        headers = {"Idempotency-Key": request.once} if request.once else {}
        try:
            return self._ask(request.method, request.path, request.body, headers)
        except ConnectionRefusedError:
            return None, _NEVER_SENT
        except (OSError, http.client.HTTPException) as error:
            return None, repr(error)

    def get(self, path: str) -> tuple[int | None, str]:
        try:
            return self._ask("GET", path, b"", {})
        except (OSError, http.client.HTTPException):
            return None, ""

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        connection = self._connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except BaseException:
            self.close()
            raise
        return answer.status, text

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._choose.random() < 0.05:
            self.close()
        if self._connection is None:
            port = self._choose.choice(self._ports)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWERED_WITHIN)
            connection.connect()
            self._connection = connection
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

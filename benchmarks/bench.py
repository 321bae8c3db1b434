"""Pushgate beside the Go Pushgateway 1.11.3, in one run on one machine: `make bench`.

Every server runs on its default settings, except for what its column says. Rounds alternate
between the servers and the table shows medians. A wrong status ends the run.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw

from benchmarks import browsers, report
from tests import services

LOAD = services.PEERS / "load"
SERIES_PER_GROUP = 50
ANSWERED = 120  # seconds within which everything here is over

Measured = dict[str, float]
Measure = Callable[["Servers", str, "Options"], Measured]


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often to measure. *groups* of 50 series are "all series"."""

    seconds: float
    rounds: int
    groups: int
    cold_pushes: int
    only: tuple[str, ...]
    ours: str
    before: str


def commands(options: Options) -> dict[str, list[str]]:
    """How to start each server; ``{port}`` and ``{data}`` are filled in."""
    go = [services.find_go_pushgateway(), "--web.listen-address=127.0.0.1:{port}"]
    ours = [*shlex.split(options.ours), "--web.listen-address=127.0.0.1:{port}"]
    before = [*shlex.split(options.before), "--web.listen-address=127.0.0.1:{port}"]
    return {
        report.UNCHECKED: [*go, "--push.disable-consistency-check"],
        report.DEFAULT: go,
        report.MEMORY: [*ours, "--persistence.file="],
        report.DURABLE: [*ours, "--persistence.file={data}"],
        report.BEFORE_IN_MEMORY: [*before, "--persistence.file="],
        report.BEFORE_DURABLE: [*before, "--persistence.file={data}"],
    }


class Servers:
    """Starts the servers to compare, each time with an empty store."""

    def __init__(self, options: Options) -> None:
        self.commands = commands(options)

    @contextmanager
    def started(self, column: str, *, data: Path | None = None) -> Iterator[services.Service]:
        """One server, with its data in *data* even if it wouldn't keep any otherwise."""
        with tempfile.TemporaryDirectory(prefix="pushgate-bench-") as folder:
            command = [
                part.replace("{data}", str(data or Path(folder) / "data"))
                for part in self.commands[column]
            ]
            if data and column == report.UNCHECKED:
                command.append(f"--persistence.file={data}")
            with services.running(command) as service:
                yield service


def build_load() -> None:
    services.PEERS.mkdir(exist_ok=True)
    source = Path(__file__).with_name("load") / "main.go"
    subprocess.run(["go", "build", "-buildvcs=false", "-o", LOAD, source], check=True)


def load(service: services.Service, *arguments: str) -> dict:
    """Runs the load generator and returns its result."""
    return result_of(start_load(service, *arguments))


def start_load(service: services.Service, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [LOAD, f"-address=127.0.0.1:{service.port}", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def result_of(process: subprocess.Popen[str]) -> dict:
    output, _ = process.communicate()
    if process.returncode:
        raise ChildProcessError(f"{process.args}: exit status {process.returncode}")
    result = json.loads(output)
    if not set(result["statuses"]) <= {"200", "202"}:
        raise ValueError(f"{process.args} was refused: {result['statuses']}")
    return result


def fill(service: services.Service, groups: int, *arguments: str) -> None:
    """Pushes new values to every group once."""
    load(service, "-once", f"-groups={groups}", *arguments)


def scrape(service: services.Service, *arguments: str, times: int = 1) -> float:
    """The median milliseconds of *times* scrapes."""
    result = load(service, "-get=/metrics", f"-scrapes={times}", *arguments)
    return statistics.median(result["each_ms"])


def loaded(service: services.Service, options: Options, *arguments: str) -> Measured:
    """Requests as fast as they are answered: how many a second, and their CPU time."""
    began = cpu_seconds(service)
    result = load(service, f"-seconds={options.seconds}", *arguments)
    used = cpu_seconds(service) - began
    return {"per second": result["per_second"], "cpu": used / result["requests"] * 1000}


def at_rate(service: services.Service, rate: float, options: Options, *arguments: str) -> Measured:
    """The latency of *rate* requests a second, from the time at which each was due."""
    result = load(service, f"-seconds={options.seconds}", f"-rate={rate}", *arguments)
    return {rank: result[f"{rank}_ms"] for rank in ("p50", "p99", "p99.9")}


def push(*arguments: str, rate: float) -> Measure:
    """Measures pushes: as many as are answered, then *rate* a second."""

    def measure(servers: Servers, column: str, options: Options) -> Measured:
        with servers.started(column) as service:
            fill(service, 100, *arguments)
            measured = loaded(service, options, *arguments)
            if column == report.DEFAULT:  # it would not keep up
                return measured
            return measured | at_rate(service, rate, options, *arguments)

    return measure


def push_to_disk(connections: int) -> Measure:
    """Measures pushes of 1 series, and how many records SQLite alone commits meanwhile.

    While a batch is on its way to the disk, about half of the connections push again.
    """
    pushed = push("-series=1", f"-connections={connections}", rate=1000)

    def measure(servers: Servers, column: str, options: Options) -> Measured:
        measured = pushed(servers, column, options)
        if column == report.DURABLE:
            alone = committed_by_sqlite(connections // 2, options.seconds)
            measured["share"] = measured["per second"] / alone
        return measured

    return measure


def committed_by_sqlite(batch: int, seconds: float) -> float:
    """How many records of a push of 1 series SQLite commits per second, *batch* at a time."""
    with tempfile.TemporaryDirectory(prefix="pushgate-bench-") as folder:
        database = apsw.Connection(f"{folder}/alone")
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            database.execute(f"PRAGMA {pragma}")  # as our journal
        database.wal_autocheckpoint(8000)
        database.execute("CREATE TABLE groups (key BLOB PRIMARY KEY, state BLOB) WITHOUT ROWID")
        records = [(b"job\xffbatch\xffinstance\xffi%06d" % i, bytes(80)) for i in range(100)]
        count, began = 0, time.monotonic()
        while (took := time.monotonic() - began) < seconds:
            some = [records[(count + i) % len(records)] for i in range(batch)]
            with database:
                database.executemany("INSERT OR REPLACE INTO groups VALUES (?, ?)", some)
            count += batch
        database.close()
        return count / took


def cold_memory(servers: Servers, column: str, options: Options) -> Measured:
    with servers.started(column) as service:
        load(service, "-once", f"-groups={options.cold_pushes}", "-spread=100", "-cold")
        return {"rss": resident(service)}


def scrape_everything(servers: Servers, column: str, options: Options) -> Measured:
    with servers.started(column) as service:
        fill(service, options.groups)
        filled = resident(service)
        measured = {"gzip first": scrape(service, "-gzip")}
        fill(service, options.groups)
        measured["gzip changed"] = scrape(service, "-gzip")
        measured["gzip unchanged"] = scrape(service, "-gzip", times=5)
        fill(service, options.groups)
        measured["plain changed"] = scrape(service)
        measured["plain unchanged"] = scrape(service, times=5)
        measured |= {"filled": filled, "scraped": resident(service)}
        scrape(service, "-protobuf")
        fill(service, options.groups)
        return measured | {"protobuf changed": scrape(service, "-protobuf")}


def scrape_own_labels(servers: Servers, column: str, options: Options) -> Measured:
    with servers.started(column) as service:
        fill(service, options.groups, "-own")
        measured = {"filled": resident(service)}
        began = cpu_seconds(service)
        measured["gzip first"] = scrape(service, "-gzip")
        measured["gzip cpu"] = cpu_seconds(service) - began
        scrape(service, "-protobuf")
        fill(service, options.groups, "-own")
        measured["protobuf changed"] = scrape(service, "-protobuf")
        fill(service, options.groups, "-own")
        checks = ("-get=/-/healthy", "-rate=1000", "-connections=4", f"-seconds={ANSWERED}")
        beside = start_load(service, *checks)
        scrape(service, "-gzip")
        beside.terminate()
        return measured | {"block": result_of(beside)["max_ms"]}


def scrape_many(servers: Servers, column: str, options: Options) -> Measured:
    """The first scrape of four times "all series", while others push and check the health."""
    shape = ("-own", "-series=100")
    groups = 2 * options.groups
    with servers.started(column) as service:
        fill(service, groups, *shape)
        beside = [
            start_load(service, f"-seconds={ANSWERED}", *arguments)
            for arguments in (
                ("-get=/-/healthy", "-rate=100", "-connections=2"),
                (*shape, f"-groups={groups}", "-rate=100", "-connections=4"),
            )
        ]
        time.sleep(1)
        began = cpu_seconds(service)
        scrape(service, "-gzip")
        used = cpu_seconds(service) - began
        for process in beside:
            process.terminate()
        health, pushes = map(result_of, beside)
        return {
            "cpu": used,
            "scraped": resident(service),
            "health": health["max_ms"],
            "push p99": pushes["p99_ms"],
        }


def small_scrapes(servers: Servers, column: str, options: Options) -> Measured:
    """Scrapes of 100 groups of 10 series, over eight connections."""
    with servers.started(column) as service:
        fill(service, 100, "-series=10")
        return loaded(service, options, "-get=/metrics", "-gzip", "-connections=8")


def push_beside_many_groups(servers: Servers, column: str, options: Options) -> Measured:
    with servers.started(column) as service:
        fill(service, 100)
        few = loaded(service, options, "-groups=100")
        fill(service, options.groups)
        many = loaded(service, options, f"-groups={options.groups}")
        latency = at_rate(service, 1000, options, f"-groups={options.groups}")
    return many | latency | {"flat": many["per second"] / few["per second"]}


def push_while_scraping(servers: Servers, column: str, options: Options) -> Measured:
    with servers.started(column) as service:
        fill(service, options.groups)
        arguments = (f"-groups={options.groups}", f"-seconds={options.seconds}", "-rate=200")
        pushes = start_load(service, *arguments)
        while pushes.poll() is None:
            scrape(service, "-gzip")
        result = result_of(pushes)
    return {"p99": result["p99_ms"], "max": result["max_ms"]}


def pages(servers: Servers, column: str, options: Options) -> Measured:
    """The page of all groups, and pushes without and with ten browsers that refresh it."""
    pushes = (f"-groups={options.groups}", f"-seconds={options.seconds}", "-rate=200")
    with servers.started(column) as service:
        fill(service, options.groups)
        _, size, packed = browsers.opened(service, "/")
        opened = browsers.median(service, ("/",))
        search = browsers.median(service, browsers.SEARCHES)
        alone = load(service, *pushes)["p99_ms"]
        with browsers.refreshing(service):
            beside = load(service, *pushes)["p99_ms"]
    return {
        "kB": size / 1000,
        "kB packed": packed / 1000,
        "opened": opened,
        "search": search,
        "p99 ratio": beside / alone,
    }


def restart(*arguments: str) -> Measure:
    def measure(servers: Servers, column: str, options: Options) -> Measured:
        with tempfile.TemporaryDirectory(prefix="pushgate-bench-") as folder:
            data = Path(folder) / "data"
            with servers.started(column, data=data) as service:
                fill(service, options.groups, *arguments)
            began = time.monotonic()
            with servers.started(column, data=data) as service:
                seconds = time.monotonic() - began
                found = service.get("/metrics").count("\nbatch_stage")
        if found != options.groups * SERIES_PER_GROUP:
            raise ValueError(f"{column} came back with {found} series")
        return {"seconds": seconds}

    return measure


def cpu_seconds(service: services.Service) -> float:
    """CPU time of the server so far, in user mode and in the kernel."""
    stat = Path(f"/proc/{service.process.pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident(service: services.Service) -> float:
    """Resident memory of the server in MB."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if "VmRSS" in line)
    return int(kilobytes) / 1000


OURS = (report.MEMORY, report.DURABLE)
ALL = (report.UNCHECKED, report.DEFAULT, *OURS)
# The Go server in its default mode takes seconds per push beside 10,000 groups.
WITHOUT_DEFAULT = (report.UNCHECKED, *OURS)
IN_MEMORY = (report.UNCHECKED, report.MEMORY)
ON_DISK = (report.UNCHECKED, report.DURABLE)

# name: (what to measure, for which columns)
SCENARIOS: dict[str, tuple[Measure, tuple[str, ...]]] = {
    "push 1": (push("-series=1", rate=2000), ALL),
    "push 50": (push(rate=1000), ALL),
    "push 1000": (push("-series=1000", rate=50), ALL),
    "push protobuf": (push("-protobuf", rate=1000), ALL),
    "push reconnect": (push("-reconnect", rate=500), ALL),
    "push 1 x8": (push_to_disk(8), ON_DISK),
    "push 1 x64": (push_to_disk(64), ON_DISK),
    "push 50 x8": (push("-connections=8", rate=1000), ON_DISK),
    "cold": (push("-cold", rate=500), WITHOUT_DEFAULT),
    "cold help": (push("-cold", "-digit-help", rate=500), IN_MEMORY),
    "cold histograms": (push("-cold", "-histograms", rate=500), IN_MEMORY),
    "cold 1000": (push("-cold", "-series=1000", rate=50), IN_MEMORY),
    "cold protobuf": (push("-cold", "-protobuf", rate=500), IN_MEMORY),
    "cold memory": (cold_memory, IN_MEMORY),
    "many groups": (push_beside_many_groups, WITHOUT_DEFAULT),
    "scrape": (scrape_everything, WITHOUT_DEFAULT),
    "scrape own": (scrape_own_labels, IN_MEMORY),
    "scrape many": (scrape_many, IN_MEMORY),
    "push while scraping": (push_while_scraping, WITHOUT_DEFAULT),
    "small scrape": (small_scrapes, IN_MEMORY),
    "pages": (pages, OURS),
    "restart": (restart(), ON_DISK),
    "restart own": (restart("-own"), ON_DISK),
}


def run(options: Options) -> report.Measurements:
    servers = Servers(options)
    measurements: report.Measurements = {}
    chosen = [name for name in SCENARIOS if any(part in name for part in options.only)]
    for number in range(options.rounds):
        for name in chosen:
            measure, columns = SCENARIOS[name]
            for column in [*columns, *(earlier(columns) if options.before else [])]:
                measured = measure(servers, column, options)
                tell(f"round {number + 1}: {name}, {column}: {shown(measured)}")
                for what, value in measured.items():
                    measurements.setdefault((name, what), {}).setdefault(column, []).append(value)
    return measurements


def earlier(columns: tuple[str, ...]) -> list[str]:
    """Where an earlier Pushgate is measured: beside ours, but for its pages."""
    return [report.EARLIER[each] for each in columns if each in OURS and columns != OURS]


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def shown(measured: Measured) -> str:
    return ", ".join(f"{what} {report.number(value)}" for what, value in measured.items())


def machine() -> str:
    """The machine in one line, as the results need it."""
    processor = next(
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = subprocess.run(
        ["stat", "--file-system", "--format=%T", tempfile.gettempdir()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({processor}) shared with the load generator, "
        f"{memory:.0f} GiB, data on {disk}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def parsed(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--only", help=f"parts of names, with commas: {', '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=float, default=5, help="of each push measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1 round, 1 s, 1,000 groups: a look")
    parser.add_argument("--ours", default=f"{services.PUSHGATE} serve", help="how to start ours")
    parser.add_argument("--before", default="", help="how to start an earlier one, to compare")
    given = parser.parse_args(arguments)
    return Options(
        seconds=1 if given.quick else given.seconds,
        rounds=1 if given.quick else given.rounds,
        groups=1_000 if given.quick else 10_000,
        cold_pushes=10_000 if given.quick else 100_000,
        only=tuple(given.only.split(",")) if given.only else ("",),
        ours=given.ours,
        before=given.before,
    )


def main() -> None:
    options = parsed(sys.argv[1:])
    build_load()
    measurements = run(options)
    print(f"`python -m benchmarks.bench {shlex.join(sys.argv[1:])}`".replace(" `", "`"))
    print(f"on {datetime.now(UTC):%Y-%m-%d}; {machine()}.")
    print(f"“All series” are {options.groups * SERIES_PER_GROUP:,} in {options.groups:,} groups.\n")
    print(report.markdown(measurements))
    if options.before:
        print(f"\n{report.progress(measurements)}")


if __name__ == "__main__":
    main()

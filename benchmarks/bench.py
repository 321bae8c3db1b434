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

from benchmarks import report
from tests import services

LOAD = services.PEERS / "load"
SERIES_PER_GROUP = 50

Measured = dict[str, float]


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    rounds: int
    groups: int
    only: tuple[str, ...]
    ours: str


def commands(options: Options) -> dict[str, list[str]]:
    """How to start each server; ``{port}`` and ``{data}`` are filled in."""
    go = [services.find_go_pushgateway(), "--web.listen-address=127.0.0.1:{port}"]
    ours = [*shlex.split(options.ours), "--web.listen-address=127.0.0.1:{port}"]
    return {
        report.UNCHECKED: [*go, "--push.disable-consistency-check"],
        report.DEFAULT: go,
        report.MEMORY: [*ours, "--persistence.file="],
        report.DURABLE: [*ours, "--persistence.file={data}"],
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


def fill(service: services.Service, groups: int) -> None:
    """Pushes new values to every group once."""
    load(service, "-once", f"-groups={groups}")


def scrape(service: services.Service, *arguments: str, times: int = 1) -> float:
    """The median milliseconds of *times* scrapes."""
    return statistics.median(load(service, f"-scrapes={times}", *arguments)["each_ms"])


def push(*arguments: str) -> Callable[[Servers, str, Options], Measured]:
    def measure(servers: Servers, column: str, options: Options) -> Measured:
        with servers.started(column) as service:
            load(service, "-once", "-groups=100", *arguments)
            result = load(service, f"-seconds={options.seconds}", *arguments)
        return {"pushes/s": result["per_second"], "p99": result["p99_ms"]}

    return measure


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
        return measured | {"filled": filled, "scraped": resident(service)}


def push_beside_many_groups(servers: Servers, column: str, options: Options) -> Measured:
    with servers.started(column) as service:
        fill(service, 100)
        few = load(service, f"-seconds={options.seconds}", "-groups=100")
        fill(service, options.groups)
        many = load(service, f"-seconds={options.seconds}", f"-groups={options.groups}")
    return {
        "pushes/s": many["per_second"],
        "p99": many["p99_ms"],
        "flat": many["per_second"] / few["per_second"],
    }


def push_while_scraping(servers: Servers, column: str, options: Options) -> Measured:
    with servers.started(column) as service:
        fill(service, options.groups)
        pushes = start_load(service, f"-seconds={options.seconds}", f"-groups={options.groups}")
        scrapes = 0
        while pushes.poll() is None:
            scrape(service, "-gzip")
            scrapes += 1
        result = result_of(pushes)
    return {"p99": result["p99_ms"], "max": result["max_ms"], "scrapes": scrapes}


def restart(servers: Servers, column: str, options: Options) -> Measured:
    with tempfile.TemporaryDirectory(prefix="pushgate-bench-") as folder:
        data = Path(folder) / "data"
        with servers.started(column, data=data) as service:
            fill(service, options.groups)
        began = time.monotonic()
        with servers.started(column, data=data) as service:
            seconds = time.monotonic() - began
            found = service.get("/metrics").count("\nbatch_stage")
    if found != options.groups * SERIES_PER_GROUP:
        raise ValueError(f"{column} came back with {found} series")
    return {"seconds": seconds}


def resident(service: services.Service) -> float:
    """Resident memory of the server in MB."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if "VmRSS" in line)
    return int(kilobytes) / 1000


OURS = (report.MEMORY, report.DURABLE)
ALL = (report.UNCHECKED, report.DEFAULT, *OURS)
# The Go server in its default mode takes seconds per push beside 10,000 groups.
WITHOUT_DEFAULT = (report.UNCHECKED, *OURS)

# name: (what to measure, for which columns)
SCENARIOS = {
    "push 1": (push("-series=1"), ALL),
    "push 50": (push("-series=50"), ALL),
    "push 1000": (push("-series=1000"), ALL),
    "push protobuf": (push("-protobuf"), ALL),
    "push reconnect": (push("-reconnect"), ALL),
    "push cold": (push("-cold"), ALL),
    "many groups": (push_beside_many_groups, WITHOUT_DEFAULT),
    "scrape": (scrape_everything, WITHOUT_DEFAULT),
    "push while scraping": (push_while_scraping, WITHOUT_DEFAULT),
    "restart": (restart, (report.UNCHECKED, report.DURABLE)),
}


def run(options: Options) -> report.Measurements:
    servers = Servers(options)
    measurements: report.Measurements = {}
    chosen = [name for name in SCENARIOS if any(part in name for part in options.only)]
    for number in range(options.rounds):
        for name in chosen:
            measure, columns = SCENARIOS[name]
            for column in columns:
                measured = measure(servers, column, options)
                tell(f"round {number + 1}: {name}, {column}: {shown(measured)}")
                for what, value in measured.items():
                    measurements.setdefault((name, what), {}).setdefault(column, []).append(value)
    return measurements


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
    given = parser.parse_args(arguments)
    return Options(
        seconds=1 if given.quick else given.seconds,
        rounds=1 if given.quick else given.rounds,
        groups=1_000 if given.quick else 10_000,
        only=tuple(given.only.split(",")) if given.only else ("",),
        ours=given.ours,
    )


def main() -> None:
    options = parsed(sys.argv[1:])
    services.PEERS.mkdir(exist_ok=True)
    source = Path(__file__).with_name("load") / "main.go"
    subprocess.run(["go", "build", "-buildvcs=false", "-o", LOAD, source], check=True)
    measurements = run(options)
    print(f"`python -m benchmarks.bench {shlex.join(sys.argv[1:])}`".replace(" `", "`"))
    print(f"on {datetime.now(UTC):%Y-%m-%d}; {machine()}.")
    print(f"“All series” are {options.groups * SERIES_PER_GROUP:,} in {options.groups:,} groups.\n")
    print(report.markdown(measurements))


if __name__ == "__main__":
    main()

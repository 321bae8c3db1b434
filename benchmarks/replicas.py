"""Replicas over PostgreSQL beside one server with its file: `make bench-replicas`.

PostgreSQL runs on the same machine, with fsync on, and all replicas share a port. Pushes are those
of `bench.py`: ten series each, to a thousand groups.
"""

import argparse
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench import build_load, fill, load, machine, tell
from tests import services
from tests.postgres import Postgres

CLIENTS = (8, 64, 256)
REPLICAS = (1, 2, 3)
PUSH = ("-series=10", "-groups=1000")
MISSED = 10_000
GROUPS, SERIES_PER_GROUP = 10_000, 50
NOBODY = "/metrics?match[]={job=%22nobody%22}"


@contextmanager
def database() -> Iterator[tuple[Postgres, str]]:
    """A cluster that keeps what it has committed, and the name of a database."""
    with Postgres.running(fsync="on", full_page_writes="on", shared_buffers="256MB") as cluster:
        yield cluster, cluster.database()


@contextmanager
def replicas(url: str, count: int) -> Iterator[list[services.Service]]:
    """*count* replicas that share a port, and have one of their own."""
    command = [services.PUSHGATE, "serve", "--log.level=warn", f"--persistence.url={url}"]
    command += ["--web.listen-address=127.0.0.1:{port}", "--web.reuse-port"]
    with ExitStack() as started:
        command += [f"--web.listen-address=127.0.0.1:{started.enter_context(services.held_port())}"]
        yield [started.enter_context(services.running(command)) for _ in range(count)]


def shared(one: services.Service) -> services.Service:
    """The port that all replicas share, one of which is *one*."""
    return services.Service(int(str(one.process.args[-1]).rpartition(":")[2]), one.process, one.log)


@contextmanager
def with_file() -> Iterator[services.Service]:
    with (
        tempfile.TemporaryDirectory(prefix="pushgate-bench-") as folder,
        services.pushgate("--log.level=warn", data=Path(folder) / "data") as service,
    ):
        yield service


Measured = tuple[float, float, float, float]
"""Acknowledged pushes per second, p50 and p99 in ms, CPU time of all servers per push in ms."""


def pushes(them: list[services.Service], at: services.Service, clients: int, seconds: float):
    before = cpu_seconds(them)
    result = load(at, f"-connections={clients}", f"-seconds={seconds}", *PUSH)
    spent = (cpu_seconds(them) - before) / result["requests"]
    measured: Measured = (result["per_second"], result["p50_ms"], result["p99_ms"], 1000 * spent)
    tell(f"{len(them)} servers, {clients} clients: {measured}")
    return measured


def cpu_seconds(them: list[services.Service]) -> float:
    """The CPU time that the servers have used; PostgreSQL's is not in it."""
    ticks = 0
    for each in them:
        stat = Path(f"/proc/{each.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure_pushes(seconds: float, rounds: int) -> None:
    """The table of pushes: one server with a file, and one, two, three replicas."""
    found: dict[tuple[str, int], list[Measured]] = {}

    def measure(title: str, them: list[services.Service], at: services.Service) -> None:
        load(at, "-once", *PUSH)
        for clients in CLIENTS:
            found.setdefault((title, clients), []).append(pushes(them, at, clients, seconds))

    for _ in range(rounds):
        with with_file() as service:
            measure("one, with a file", [service], service)
        for count in REPLICAS:
            with database() as (cluster, name), replicas(cluster.url_of(name), count) as them:
                measure(f"{count} over PostgreSQL", them, shared(them[0]))
    print("| servers | clients | acknowledged pushes/s | p50, ms | p99, ms | CPU time, ms/push |")
    print("|---|--:|--:|--:|--:|--:|")
    for (servers, clients), measured in found.items():
        rate, p50, p99, cpu = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"| {servers} | {clients} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {cpu:.2f} |")


def measure_catching_up() -> None:
    """How long a replica takes to answer that has slept while others changed things."""
    with database() as (cluster, name), replicas(cluster.url_of(name), 2) as (one, other):
        load(one, "-once", "-series=10", f"-groups={MISSED}")
        other.get(NOBODY)
        os.kill(other.process.pid, signal.SIGSTOP)
        load(one, "-once", "-series=10", f"-groups={MISSED}")
        os.kill(other.process.pid, signal.SIGCONT)
        began = time.monotonic()
        other.get(NOBODY)
        seconds = time.monotonic() - began
        assert one.get("/metrics").count("batch_stage") == other.get("/metrics").count(
            "batch_stage"
        )
    print(f"| catching up with {MISSED:,} changes | {seconds:.2f} s |")


def measure_start() -> None:
    """How long a replica takes to be ready when everything is in the database already."""
    with database() as (cluster, name):
        url = cluster.url_of(name)
        with replicas(url, 1) as (one,):
            fill(one, GROUPS)
            began = time.monotonic()
            with replicas(url, 1) as (other,):
                seconds = time.monotonic() - began
                found = other.get("/metrics").count("\nbatch_stage")
    assert found == GROUPS * SERIES_PER_GROUP, found
    print(f"| start with {found:,} series | {seconds:.2f} s |")


def measure_room(seconds: float) -> None:
    """What many pushes leave in the database: its size, and how many updates stayed in place."""
    with database() as (cluster, name), replicas(cluster.url_of(name), 2) as (one, _):
        load(one, "-once", *PUSH)
        before = cluster.psql(f"SELECT pg_database_size('{name}')")
        result = load(shared(one), f"-seconds={seconds}", *PUSH)
        after = cluster.psql(f"SELECT pg_database_size('{name}')")
        tables = cluster.psql(
            "SELECT relname, pg_total_relation_size(relid), n_live_tup, n_dead_tup, n_tup_upd,"
            " n_tup_hot_upd, autovacuum_count FROM pg_stat_user_tables ORDER BY relname",
            name,
        )
    print(
        f"\nAfter {result['requests']:,} pushes in {seconds:.0f} s ({result['per_second']:,.0f}/s) "
        f"the database has {int(after) / 1e6:.1f} MB, before {int(before) / 1e6:.1f} MB:\n"
    )
    print("| table | MB | rows | dead rows | updates | of them HOT | vacuums |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for line in tables.splitlines():
        table, size, live, dead, updates, hot, vacuums = line.split("|")
        share = f"{int(hot) / int(updates):.1%}" if int(updates) else "-"
        print(
            f"| {table} | {int(size) / 1e6:.1f} | {int(live):,} | {int(dead):,} | "
            f"{int(updates):,} | {share} | {vacuums} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each push measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--room", type=float, default=120, help="seconds of pushes for the size")
    given = parser.parse_args()
    build_load()
    print(f"{datetime.now(UTC):%Y-%m-%d}; {machine()}.\n")
    measure_pushes(given.seconds, given.rounds)
    print("\n| | |\n|---|--:|")
    measure_catching_up()
    measure_start()
    measure_room(given.room)


if __name__ == "__main__":
    main()

"""Three replicas and one PostgreSQL, under load and under fire, answer as one server would.

A few seconds of each here; `make replicas` runs them in full size and prints the figures.
"""

import os
import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.postgres import Postgres
from tests.replicas import traced
from tests.replicas.cluster import Replica, expositions, replicas, trace_of
from tests.replicas.linear import violation
from tests.replicas.load import Load, states
from tests.replicas.replay import Replay, objections, replayed, reversals, shown
from tests.tcpproxy import Proxy, proxied

IS_FULL = os.environ.get("PUSHGATE_REPLICAS") == "1"
SECONDS = 300.0 if IS_FULL else 2.0
PACE = 1.0 if IS_FULL else 0.5
"""Factor for the pauses between harms."""
KILLS = 50 if IS_FULL else 2
RESTARTS = 10 if IS_FULL else 1
ROUNDS = 10 if IS_FULL else 1
WRITERS, SCRAPERS, PAUSE = (60, 10, 0.02) if IS_FULL else (20, 4, 0.04)

pytestmark = pytest.mark.timeout(1800 if IS_FULL else 120)


def pause(least: float, most: float | None = None) -> None:
    """Wait for a random time between these seconds, or for so long."""
    time.sleep(PACE * random.uniform(least, most or least))


def prepared(cluster: Postgres) -> str:
    """A database with the table of the trace."""
    database = cluster.database()
    cluster.psql(traced.TABLE, database)
    return database


def loaded(them: Sequence[Replica], meanwhile: Callable[[], object]) -> Load:
    seed, ports = random.randrange(10**6), [each.port for each in them]
    load = Load(ports, WRITERS, SCRAPERS, seed, PAUSE)
    load.run(meanwhile)
    return load


def check(load: Load, them: Sequence[Replica], cluster: Postgres, database: str) -> Replay:
    """Everything that has to hold in the end, whatever happened on the way."""
    print(f"\n{load.figures()}")  # noqa: T201 - the figures of `make replicas`
    first, *others = expositions(them)
    trace = trace_of(cluster, database)
    replay = replayed(trace, load.requests)
    assert replay.differences == [], "verdicts that one server would not have given"
    assert [*objections(trace, load.requests)] == []
    assert [*reversals(trace, load.requests)] == []
    assert all(other == first for other in others), "replicas show different things"
    assert first == shown(replay.store), "replicas show what one server would not"
    found = {job: violation(history) for job, history in load.history().items()}
    assert {job: each for job, each in found.items() if each} == {}, "not linearizable"
    print(  # noqa: T201
        f"{len(trace)} changes in the log, 0 verdicts differ; {len(found)} jobs linearizable over "
        f"{sum(map(len, load.history().values()))} operations; {len(them)} expositions equal"
    )
    return replay


def test_three_replicas_answer_as_one_server(tmp_path, postgres):
    database = prepared(postgres)
    with replicas(tmp_path, postgres.url_of(database)) as them:
        load = loaded(them, lambda: time.sleep(SECONDS))
        check(load, them, postgres, database)
    assert {status for each in load.requests for status in each.statuses} == {200, 202, 400}
    assert all(each.status == 200 and each.is_current for each in load.scrapes)


def test_replicas_that_are_killed_lose_nothing(tmp_path, postgres):
    def kill() -> None:
        for number in range(KILLS):
            pause(0.2, 1.5)
            victim = them[number % len(them)]
            victim.kill()
            victim.start()
            if number % 2:  # every other time, the next one is killed while this one starts
                victim.wait()

    database = prepared(postgres)
    with replicas(tmp_path, postgres.url_of(database)) as them:
        load = loaded(them, kill)
        check(load, them, postgres, database)


def test_a_database_that_crashes_loses_nothing(tmp_path):
    def crash() -> None:
        for _ in range(RESTARTS):
            pause(1, 3)
            cluster.stop("immediate")
            pause(0, 1)
            cluster.start()
        expositions(them)
        pause(1)

    with Postgres.running() as cluster:
        database = prepared(cluster)
        with replicas(tmp_path, cluster.url_of(database)) as them:
            load = loaded(them, crash)
            check(load, them, cluster, database)


def test_broken_connections_to_the_database_lose_nothing(tmp_path, postgres):
    def harm(proxy: Proxy) -> None:
        for _ in range(ROUNDS):
            for _ in range(3):
                pause(0.2, 0.6)
                proxy.cut()
            for _ in range(3):
                pause(0.2, 0.6)
                proxy.half_close()
            for attribute in ("cut_before", "cut_after") * 3:
                pause(0.1, 0.4)
                setattr(proxy, attribute, b"COMMIT")
            proxy.delay = 0.1  # there and back
            pause(2)
            proxy.cut()
            pause(1)
            proxy.delay = 0.0
            pause(0.5)

    database = prepared(postgres)
    with proxied(postgres.port) as proxy:
        url = postgres.url_of(database, port=proxy.port)
        with replicas(tmp_path, url) as them:
            load = loaded(them, lambda: harm(proxy))
            check(load, them, postgres, database)


def test_a_connection_that_swallows_everything_is_given_up(tmp_path, postgres):
    def swallow(proxy: Proxy) -> None:
        pause(1)
        proxy.swallows = True
        pause(60 if IS_FULL else 1)
        proxy.swallows = False
        if not IS_FULL:  # bytes are missing now: they would give up after ten seconds
            proxy.cut()
        expositions(them)
        pause(1)

    database = prepared(postgres)
    with proxied(postgres.port) as proxy:
        url = postgres.url_of(database, port=proxy.port)
        with replicas(tmp_path, url) as them:
            load = loaded(them, lambda: swallow(proxy))
            check(load, them, postgres, database)
    assert not IS_FULL or 503 in {status for each in load.requests for status in each.statuses}


def url_of_all(database: str, *clusters: Postgres) -> str:
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in clusters)
    return f"postgresql://postgres@{hosts}/{database}"


def test_a_synchronous_standby_that_takes_over_has_everything(tmp_path):
    def fail_over() -> None:
        pause(SECONDS / 10 + 1)
        primary.stop("kill")
        pause(0, 1)
        standby.promote()
        expositions(them)
        pause(SECONDS / 10 + 1)

    with Postgres.running() as primary:
        database = prepared(primary)
        standby = primary.standby(synchronous=True)
        with replicas(tmp_path, url_of_all(database, primary, standby)) as them:
            load = loaded(them, fail_over)
            check(load, them, standby, database)


def test_what_an_asynchronous_standby_lacks_is_noticed_and_all_replicas_agree(tmp_path):
    def fail_over(link: Proxy) -> None:
        pause(1)
        link.swallows = True
        pause(2)
        primary.stop("kill")
        link.cut()
        standby.promote()
        expositions(them)
        pause(1)

    with Postgres.running() as primary, proxied(primary.port) as link:
        database = prepared(primary)
        standby = primary.standby(synchronous=False, port=link.port)
        with replicas(tmp_path, url_of_all(database, primary, standby)) as them:
            load = loaded(them, lambda: fail_over(link))
            first, *others = expositions(them)
            assert all(other == first for other in others)
            trace = trace_of(standby, database)
            replay = replayed(trace, load.requests)
            assert replay.differences == []
            assert first == shown(replay.store)
            lost = [*objections(trace, load.requests)]
            noticed = [each.metric("pushgate_storage_losses_total") for each in them]
            acknowledged = sum("was acknowledged" in each for each in lost)
            print(f"\n{load.figures()}; {acknowledged} acknowledged pushes lost")  # noqa: T201
            assert acknowledged
            assert all("was acknowledged" in each or "was refused" in each for each in lost)
            assert noticed == [1.0] * len(them)
            assert all("has lost changes" in each.log.read_text() for each in them)
            assert states(first)

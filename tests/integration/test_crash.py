"""Killed at any moment, the server comes back with everything it had answered for."""

import http.client
import itertools
import math
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import services

CONNECTIONS = 4
ALL = "all groups"
GROUPS = [f"group{number}" for number in range(12)]
SERIES_PER_PUSH = 5
ACKNOWLEDGED_BEFORE_THE_KILL = 100
KILLS = int(os.environ.get("PUSHGATE_KILLS", "4"))


@dataclass(frozen=True, slots=True)
class Write:
    """One push (of *value*, never used twice) or delete (*value* None) of a group, or of all.

    *began* and *ended* enclose the moment of its effect; without an answer it has no end.
    """

    group: str
    value: int | None
    began: float
    ended: float = math.inf
    status: int | None = None

    @property
    def acknowledged(self) -> bool:
        return self.status in {200, 202}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the exposition shows of a group: the values of its series, and its push time."""

    values: tuple[int, ...]
    pushed_at: float


def body(value: int, *, bad: bool) -> bytes:
    series = [f'step{{number="{number}"}} {value}\n' for number in range(SERIES_PER_PUSH)]
    return "".join([*series, series[0]] if bad else series).encode()


def write_until_it_dies(
    port: int, seed: int, values: "itertools.count[int]", acknowledged: Callable[[], object]
) -> list[Write]:
    """Pushes, deletes and refused pushes on one connection until the server is gone."""
    choose = random.Random(seed)
    writes = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        while True:
            group, value = choose.choice(GROUPS), next(values)
            kind = choose.choices(["push", "refused", "delete", "wipe"], [70, 18, 10, 2])[0]
            deletes = kind in {"delete", "wipe"}
            method = "DELETE" if kind == "delete" else choose.choice(["PUT", "POST"])
            path = "/api/v1/admin/wipe" if kind == "wipe" else f"/metrics/job/{group}"
            if kind == "wipe":
                method, group = "PUT", ALL
            writes.append(Write(group, None if deletes else value, began=time.time()))
            try:
                content = b"" if deletes else body(value, bad=kind == "refused")
                connection.request(method, path, content)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return writes
            writes[-1] = replace(writes[-1], ended=time.time(), status=answer.status)
            acknowledged()


def push_until_killed(service: services.Service, seed: int, values: "itertools.count[int]"):
    """Pushes over several connections, kills the server meanwhile; returns all writes."""
    enough = threading.Semaphore(0)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        connections = [
            pool.submit(
                write_until_it_dies, service.port, seed * CONNECTIONS + n, values, enough.release
            )
            for n in range(CONNECTIONS)
        ]
        try:
            for _ in range(ACKNOWLEDGED_BEFORE_THE_KILL):
                assert enough.acquire(timeout=30), "the server stopped answering"
            time.sleep(random.Random(seed).uniform(0, 0.2))  # the random moment
        finally:
            service.kill()
    return [write for connection in connections for write in connection.result()]


def stored(exposition: str) -> dict[str, Stored]:
    values: dict[str, list[int]] = {}
    pushed_at: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "step":
                values.setdefault(sample.labels["job"], []).append(int(sample.value))
            elif sample.name == "push_time_seconds":
                pushed_at[sample.labels["job"]] = sample.value
    return {group: Stored(tuple(them), pushed_at[group]) for group, them in values.items()}


def objections(
    group: str, found: Stored | None, before: Stored | None, writes: list[Write]
) -> list[str]:
    """Why *found* cannot be what a durable server shows of *group* after *writes*."""
    value = None
    if found:
        if len(found.values) != SERIES_PER_PUSH or len(set(found.values)) != 1:
            return [f"{group} holds a torn push: {found.values}"]
        value = found.values[0]
    past = Write(group, before.values[0] if before else None, -math.inf, -math.inf, 200)
    candidates = [write for write in [past, *writes] if write.value == value]
    refused = [write for write in candidates if write.status == 400]
    if refused or not candidates:
        return [f"{group} holds {value}, refused or never written: {candidates}"]
    return [
        f"{group} holds {value}, but {later} was acknowledged after it"
        for later in writes
        if later.acknowledged and all(later.began > write.ended for write in candidates)
    ] + [
        f"{group} was pushed at {found.pushed_at}, not while {write} ran"
        for write in candidates
        if found and write is not past and not write.began <= found.pushed_at <= write.ended
    ]


def check(found: Mapping[str, Stored], before: Mapping[str, Stored], writes: list[Write]):
    assert [
        objection
        for group in GROUPS
        for objection in objections(
            group,
            found.get(group),
            before.get(group),
            [write for write in writes if write.group in {group, ALL}],
        )
    ] == []
    assert {write.status for write in writes} <= {200, 202, 400, None}


@pytest.mark.timeout(60 + 10 * KILLS)
def test_what_was_acknowledged_survives_kill_9_round_after_round(tmp_path):
    """Each server that is killed is the one that shows what survived the kill before."""
    data, values = tmp_path / "pushgate.db", itertools.count(1)
    before: Mapping[str, Stored] = {}
    writes: list[Write] = []
    counts: Counter[str] = Counter()
    for seed in range(KILLS + 1):
        with services.pushgate("--web.enable-admin-api", data=data) as service:
            found = stored(service.get("/metrics"))
            check(found, before, writes)
            if seed < KILLS:
                before, writes = found, push_until_killed(service, seed, values)
        counts.update(str(write.status) for write in writes)
    print(  # noqa: T201 - the figures of `make crash`
        f"{KILLS} kills, writes by status: {dict(counts)}, 0 lost, 0 refused visible"
    )
    assert counts["200"] > 0 < counts["202"]
    assert counts["400"] > 0


def test_the_check_itself_notices_a_lost_push():
    kept, lost = Write("group0", 1, 1.0, 2.0, 200), Write("group0", 2, 3.0, 4.0, 200)
    still_the_first = Stored((1,) * SERIES_PER_PUSH, 1.5)

    assert "acknowledged after it" in objections("group0", still_the_first, None, [kept, lost])[0]


@pytest.mark.parametrize(
    ("found", "objection"),
    [
        pytest.param(Stored((1, 1, 1, 1, 2), 1.5), "torn push", id="torn"),
        pytest.param(
            Stored((7,) * SERIES_PER_PUSH, 1.5), "refused or never written", id="invented"
        ),
        pytest.param(Stored((3,) * SERIES_PER_PUSH, 5.5), "refused or never written", id="refused"),
        pytest.param(Stored((1,) * SERIES_PER_PUSH, 9.0), "was pushed at 9.0", id="push time"),
        pytest.param(None, "acknowledged after it", id="gone"),
    ],
)
def test_the_check_itself_notices(found, objection):
    writes = [Write("group0", 1, 1.0, 2.0, 200), Write("group0", 3, 5.0, 6.0, 400)]

    assert objection in objections("group0", found, None, writes)[0]


def test_the_check_itself_accepts_a_write_that_was_in_flight():
    writes = [Write("group0", 1, 1.0, 2.0, 200), Write("group0", 2, 3.0)]
    for value in (1, 2):
        found = Stored((value,) * SERIES_PER_PUSH, value * 1.6)

        assert objections("group0", found, None, writes) == []

"""Memory follows what is stored: neither what came and went nor slow readers leave a trace."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests import services
from tests.abuse.requests import Request, delete, post, put
from tests.abuse.table import series
from tests.abuse.test_table import exchange
from tests.exchange import not_reading

# As many requests as the claim is about take some minutes: PUSHGATE_CHURN sets another number.
REQUESTS = int(os.environ.get("PUSHGATE_CHURN", "200000"))
GROWTH = 1.3
MAX_MEGABYTES = 500
READERS = 1000

pytestmark = pytest.mark.timeout(3600)


def resident_megabytes(service: services.Service) -> float:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    [resident] = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(resident) / 1024


def content() -> Iterator[Request]:
    """What is stored in the end."""
    for job in range(100):
        body = b"".join(b'kept{l="%d"} %d\n' % (n, n) for n in range(100))
        yield put(f"/metrics/job/kept{job}", body)


def churn() -> Iterator[Request]:
    """Pushes of ever new names, labels and groups, refused ones, deletes; nothing of it stays."""
    for n in count():
        yield put("/metrics/job/a", b"".join(b"x%d_%d 1\n" % (n, i) for i in range(100)))
        yield put("/metrics/job/a", b"".join(b'l{l%d="%d"} 1\n' % (n, i) for i in range(100)))
        yield post("/metrics/job/a", b"m%d 1\n" % n)
        yield put(f"/metrics/job/b/instance/{n}", b'v{v="%d"} 1\n' % n)
        yield put(f"/metrics/job/b/l{n}/x", b"n%d 1\n" % n)
        yield put("/metrics/job/c", b"kept%d 1\nkept%d 1\n" % (n, n))
        yield put("/metrics/job/c", b"kept{%d\n" % n)
        yield Request("GET", f"/{n}")
        yield delete(f"/metrics/job/b/instance/{n}")
        yield delete(f"/metrics/job/b/l{n}/x")


def test_after_churn_a_server_is_as_large_as_a_fresh_one(tmp_path):
    with services.pushgate(data=tmp_path / "fresh.db") as fresh:
        exchange(fresh, content())
        fresh.get("/metrics")
        expected = resident_megabytes(fresh)
    with services.pushgate(data=tmp_path / "churned.db") as churned:
        exchange(churned, content())
        requests = churn()
        exchange(churned, (next(requests) for _ in range(REQUESTS)))
        exchange(churned, [delete("/metrics/job/a"), delete("/metrics/job/c")])
        churned.get("/metrics")
        found = resident_megabytes(churned)
    print(f"\nfresh {expected:.0f} MB, after {REQUESTS} requests {found:.0f} MB")  # noqa: T201
    assert found <= GROWTH * expected


def test_a_thousand_slow_readers_while_everything_changes_share_what_they_read(tmp_path):
    with services.pushgate(data=tmp_path / "slow.db") as service, ExitStack() as stack:
        for reader in range(READERS):
            body = b"".join(b'm{l="%d"} %d\n' % (n, reader + n) for n in range(20_000))
            if reader % 5 == 0:
                exchange(service, [put("/metrics/job/a", body)])
            stack.enter_context(not_reading(service.port, "/metrics"))
        assert "m{" in service.get("/metrics")
        found = resident_megabytes(service)
    print(f"\nwith {READERS} slow readers {found:.0f} MB")  # noqa: T201
    assert found <= MAX_MEGABYTES


def test_slow_readers_of_the_json_api_share_what_they_read():
    with services.pushgate() as service, ExitStack() as stack:
        for reader in range(200):
            if reader % 20 == 0:
                exchange(service, [put("/metrics/job/a", series(50_000))])
            stack.enter_context(not_reading(service.port, "/api/v1/metrics"))
        assert "push_time_seconds" in service.get("/api/v1/metrics")
        found = resident_megabytes(service)
    print(f"\nwith 200 slow readers {found:.0f} MB")  # noqa: T201
    assert found <= MAX_MEGABYTES

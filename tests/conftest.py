"""What every test relies on: property-test profiles, the asyncio backend, and no silent skips."""

import fcntl
import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import settings

from tests import services

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

NO_SKIP = os.environ.get("PUSHGATE_TEST_NO_SKIP") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected lives to the end: looking for garbage in it costs a tenth of all time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# A browser, or servers of other makes, for all tests of the file.
SHARES_MUCH = {"test_page.py", "test_client_acceptance.py", "test_alerts.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may take longer than others: at the end, processes would idle.

    Before these come the files whose tests share much: nothing is taken away from the front of
    what a process has to run, so that no other process starts the same.
    """
    items.sort(
        key=lambda item: (item.path.name in SHARES_MUCH, seconds_allowed(item)), reverse=True
    )


def seconds_allowed(item: pytest.Item) -> float:
    timeout = item.get_closest_marker("timeout")
    return timeout.args[0] if timeout else 0


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL for all tests of this process; each of them uses a database of its own."""
    from tests.postgres import Postgres

    with Postgres.running() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def gateway() -> Iterator[services.Service]:
    """A server of ours for all tests of a module."""
    with services.pushgate() as service:
        yield service


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    with compiled_once(collector):
        return refuse_skip((yield))


@contextmanager
def compiled_once(collector: pytest.Collector) -> Iterator[None]:
    """Let one process compile a file of tests, while the others wait and read what it writes."""
    with ExitStack() as stack:
        if isinstance(collector, pytest.Module):
            file = stack.enter_context(collector.path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def refuse_skip(report):
    """With PUSHGATE_TEST_NO_SKIP=1 a skipped test is a failed one: nothing went unproved."""
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skips are refused here: {report.longrepr}"
    return report

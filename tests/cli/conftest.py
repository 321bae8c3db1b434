import signal

import pytest

from pushgate.properties import loader
from tests import services


@pytest.fixture(autouse=True)
def _own_properties(monkeypatch):
    monkeypatch.setattr(loader, "_system", {})
    loader.reload()
    yield
    loader.reload()


@pytest.fixture(scope="module")
def ours():
    with services.pushgate() as service:
        yield service


@pytest.fixture(params=["ours", "go"], scope="module")
def gateway(request):
    """Each of the two gateways, as a process of its own."""
    start = {"ours": services.pushgate, "go": services.go_pushgateway}[request.param]
    with start() as service:
        yield service


@pytest.fixture
def interrupts():
    """Commands can be interrupted, even if this test run, in the background, cannot."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

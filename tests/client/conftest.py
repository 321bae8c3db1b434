import asyncio

import pytest
from prometheus_client import CollectorRegistry, Gauge

from pushgate import AsyncPushGateway, PushGateway
from pushgate.properties import reload


class Caller:
    """Calls either gateway the same way, so that one suite holds both to one contract."""

    def __init__(self, kind):
        self.kind = kind

    def make(self, *args, **options):
        return self.kind(*args, **{"properties": False, **options})

    def call(self, gateway, method, *args, **options):
        if isinstance(gateway, PushGateway):
            return getattr(gateway, method)(*args, **options)

        async def awaited():
            return await getattr(gateway, method)(*args, **options)

        return asyncio.run(awaited())


@pytest.fixture(params=[PushGateway, AsyncPushGateway], ids=["blocking", "asyncio"])
def caller(request):
    return Caller(request.param)


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Gauge("rows", "Rows read", registry=registry).set(3)
    return registry


@pytest.fixture(autouse=True)
def fresh_properties(monkeypatch):
    """No test sees the properties, proxies or warnings of another, or of the machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("pushgate.log._logged", set())
    reload()
    yield
    reload()

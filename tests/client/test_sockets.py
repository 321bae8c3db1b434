import asyncio
import signal
import socket
import threading
import time

import pytest
from prometheus_client import CollectorRegistry, Gauge

from pushgate import AsyncPushGateway, PushGateway, PushTimeoutError
from tests.client.rogue import rogue


def resolve_to(monkeypatch, *addresses):
    def getaddrinfo(host, port, *args, **options):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_next_address_is_tried_when_one_refuses(caller, monkeypatch):
    with rogue() as server:
        real = socket.gethostbyname("localhost")
        resolve_to(monkeypatch, "127.0.0.2", real)
        url = f"http://gateway.example:{server.port}"
        gateway = caller.make(url, job="j", retry=0)
        monkeypatch.setattr(socket.socket, "connect", only(real))
        assert caller.call(gateway, "delete").status == 200


def only(reachable):
    """Connects to one address; every other one swallows its packets."""
    connect = socket.socket.connect

    def connect_or_not(self, address):
        if address[0] == reachable:
            return connect(self, address)
        time.sleep(0.01)
        raise TimeoutError("timed out")

    return connect_or_not


def test_an_address_of_a_family_that_the_system_lacks_is_passed_over(caller, monkeypatch):
    lacking = 255  # as AF_INET6 where IPv6 is switched off
    with rogue() as server:
        addresses = [
            (lacking, socket.SOCK_STREAM, 6, "", ("::1", server.port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        gateway = caller.make(f"http://gateway.example:{server.port}", job="j", retry=0)
        assert caller.call(gateway, "delete").status == 200


@pytest.mark.timeout(12)
@pytest.mark.parametrize(
    ("kind", "finished"),
    [(PushGateway, lambda result: result), (AsyncPushGateway, asyncio.run)],
    ids=["blocking", "asyncio"],
)
def test_a_resolver_that_hangs_is_left_behind(monkeypatch, kind, finished):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(30))
    gateway = kind("gateway.example", job="j", retry=0, properties=False, connect_timeout=0.2)
    for deadline in (None, 0.1):
        gateway = gateway.replace(deadline=deadline)
        with pytest.raises(PushTimeoutError) as caught:
            finished(gateway.delete())  # the loop of asyncio ends, too
        assert caught.value.hint == "the resolver did not answer for gateway.example"
        assert not caught.value.sent
    assert not answered.is_set()
    answered.set()


def test_a_connect_timeout_is_told_from_a_read_timeout(caller, monkeypatch):
    resolve_to(monkeypatch, "127.0.0.2")
    monkeypatch.setattr(socket.socket, "connect", only("127.0.0.1"))
    gateway = caller.make("gateway.example", job="j", retry=0)
    with pytest.raises(PushTimeoutError, match="Connect timed out") as caught:
        caller.call(gateway, "delete")
    assert caught.value.phase == "connect"


def test_a_large_body_goes_out_in_pieces_that_can_be_watched():
    registry = CollectorRegistry()
    Gauge("big", "x" * 200_000, registry=registry)
    pieces = []
    with rogue() as server:
        gateway = PushGateway(server.url, job="j", registry=registry, properties=False)
        gateway.watch(pieces.append)
        gateway.push()
    assert max(pieces) <= 1 << 16
    assert sum(pieces) > 200_000


def test_a_signal_is_for_the_thread_that_pushes_and_not_for_the_one_that_resolves(monkeypatch):
    resolve, masks = socket.getaddrinfo, []

    def resolving(*arguments, **options):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    with rogue() as server:
        PushGateway(f"localhost:{server.port}", job="a").delete()
    assert signal.SIGINT in masks[0]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

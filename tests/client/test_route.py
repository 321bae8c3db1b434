"""Proxies of the environment, as curl reads it; a push never fails for one it cannot use."""

import pytest

from pushgate import (
    ConfigurationError,
    PushGateway,
)
from pushgate.client.route import proxy_of_environment
from tests.client.rogue import rogue
from tests.client.shared import fails


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_without_a_scheme_is_an_http_proxy(caller, registry, monkeypatch, name):
    with rogue() as proxy:
        monkeypatch.setenv(name, f"localhost:{proxy.port}")
        caller.call(caller.make("gateway.invalid:9091", job="j", registry=registry), "push")
    assert [r.path for r in proxy.seen] == ["http://gateway.invalid:9091/metrics/job/j"]


@pytest.mark.parametrize(
    "value",
    [
        "socks5://user:hunter2@h:1",
        "socks5h://h:1",
        "http://",
        "h:99999",
        "http://[::1",
        "http://h:x",
        "http://h\u00e9:1",
        "a blank:1",
        "http://a\nb:1",
    ],
)
def test_an_unusable_proxy_of_the_environment_is_a_warning_and_no_detour(
    caller, registry, monkeypatch, caplog, value
):
    monkeypatch.setenv("ALL_PROXY", value)
    with rogue() as server:
        gateway = caller.make(server.url, registry=registry)
        assert caller.call(gateway, "push").status == 200
        caller.call(gateway, "push")
    assert caplog.text.count("$ALL_PROXY is not the URL of an HTTP proxy") == 1
    assert "hunter2" not in caplog.text


def test_a_proxy_given_by_code_needs_no_scheme(caller, registry):
    with rogue() as proxy:
        address = f"localhost:{proxy.port}"
        caller.call(caller.make("gateway.invalid:1", registry=registry, proxy=address), "push")
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("proxy", ["socks5://u:hunter2@h:1", "http://h:99999", "http://", ""])
def test_an_unusable_proxy_given_by_code_is_an_error(proxy):
    with pytest.raises(ConfigurationError, match="proxy: expecting") as caught:
        PushGateway("h:1", proxy=proxy, properties=False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "host", "port", "is_direct"),
    [
        ("*", "gw.example.org", 9091, True),
        ("example.org", "gw.example.org", 9091, True),
        (".example.org", "gw.example.org", 9091, True),
        ("*.example.org", "gw.example.org", 9091, True),
        ("EXAMPLE.org.", "gw.Example.ORG", 9091, True),
        ("ample.org", "gw.example.org", 9091, False),
        ("example.org:9091", "gw.example.org", 9091, True),
        ("example.org:9092", "gw.example.org", 9091, False),
        ("a, b gw.example.org", "gw.example.org", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.1:9091", "10.0.0.1", 9091, True),
        ("10.0.0.1:9092", "10.0.0.1", 9091, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:9091", "::1", 9091, True),
        ("fe80::/10", "fe80::1", 80, True),
        ("10.0.0.0/99,x", "10.0.0.1", 80, False),
        ("", "gw.example.org", 80, False),
    ],
)
def test_no_proxy_knows_domains_ports_and_networks(monkeypatch, entry, host, port, is_direct):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", entry)
    expected = None if is_direct else "http://proxy:3128"
    assert proxy_of_environment("http", host, port) == expected


def test_the_proxy_header_of_a_cgi_client_is_no_proxy(monkeypatch):
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", "http://evil:1")
    assert proxy_of_environment("http", "h", 80) is None


def test_lower_case_wins_and_an_empty_value_is_no_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://upper:1")
    monkeypatch.setenv("https_proxy", "http://lower:1")
    assert proxy_of_environment("https", "h", 443) == "http://lower:1"
    monkeypatch.setenv("https_proxy", "")
    assert proxy_of_environment("https", "h", 443) is None


@pytest.mark.parametrize(
    ("proxy", "complaint"),
    [
        ("http://u:hunter2@127.0.0.1:1", "Connection refused"),
        ("http://u:hunter2@no-such-proxy.invalid:1", "unknown host no-such-proxy.invalid"),
    ],
)
def test_a_proxy_that_cannot_be_reached_is_named(caller, registry, monkeypatch, proxy, complaint):
    monkeypatch.setenv("http_proxy", proxy)
    failure = fails(caller, caller.make("gateway:9091", registry=registry, retry=0))
    assert complaint in str(failure)
    assert f"goes through the proxy {proxy.partition('@')[2]}" in failure.hint
    assert "hunter2" not in str(failure)


def test_a_proxy_gets_the_whole_url(caller, registry, monkeypatch):
    with rogue() as proxy:
        gateway = caller.make("gateway.invalid:9091", job="j", registry=registry, proxy=proxy.url)
        caller.call(gateway, "push")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        caller.call(gateway.replace(proxy="env"), "push")
    assert {r.path for r in proxy.seen} == {"http://gateway.invalid:9091/metrics/job/j"}


def test_no_proxy_is_respected(caller, registry, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://no-such-proxy.invalid")
    with rogue() as server:
        monkeypatch.setenv("no_proxy", "localhost")
        caller.call(caller.make(server.url, registry=registry), "push")
        monkeypatch.delenv("no_proxy")
        caller.call(caller.make(server.url, registry=registry, proxy=None), "push")
    assert len(server.seen) == 2

from ipaddress import ip_network

import pytest

from pushgate.server.http.csrf import cross_site_write
from pushgate.server.settings import Settings
from tests.server.http.asgi import Served

PROXY = "10.1.2.3"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def refusal(
    said: dict[str, str],
    *,
    host: str | None = "gateway.example:9091",
    external_url: str = "",
    client: str | None = "192.0.2.1",
    method: str = "DELETE",
) -> str | None:
    """Why a request with the headers *said* is refused."""
    headers = {"host": host, **said} if host is not None else said
    scope = {
        "method": method,
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()],
        "client": client and (client, 4711),
    }
    return cross_site_write(scope, external_url, TRUSTED)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://gateway.example:9091"},
        {"origin": "https://Gateway.Example:9091"},
        {"sec-fetch-site": "same-origin", "origin": "https://outside.example"},
    ],
)
def test_curl_libraries_and_the_servers_own_pages_may_write(said):
    assert refusal(said) is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"sec-fetch-site": "cross-site"}, "Sec-Fetch-Site: cross-site"),
        ({"sec-fetch-site": "same-site"}, "Sec-Fetch-Site: same-site"),
        ({"sec-fetch-site": "Cross-Site"}, "Sec-Fetch-Site: Cross-Site"),
        (
            {"sec-fetch-site": "cross-site", "origin": "http://gateway.example:9091"},
            "another site",
        ),
        ({"origin": "http://evil.example"}, "'http://evil.example' is not this server"),
        ({"origin": "http://gateway.example"}, "'http://gateway.example' is not this server"),
        ({"origin": "http://gateway.example:9091@evil.example"}, "is not this server"),
        ({"origin": "null"}, "'null' is not this server"),
        ({"origin": ""}, "'' is not this server"),
        ({"origin": "http://["}, "is not this server"),
        ({"origin": "http://gateway.example:99999"}, "is not this server"),
        ({"origin": "http://evil\xff"}, "is not this server"),
    ],
)
def test_a_page_of_another_site_may_not(said, why):
    assert why in refusal(said)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_methods_that_change_nothing_are_never_refused(method):
    assert refusal({"origin": "http://evil.example"}, method=method) is None


@pytest.mark.parametrize("origin", ["null", "http://", "http://gateway.example"])
def test_a_request_without_host_has_no_own_origin(origin):
    assert refusal({"origin": origin}, host=None) is not None


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("https://gw", "gw:443", True),
        ("https://gw", "gw", True),
        ("https://gw:443", "gw", True),
        ("http://gw", "gw:80", True),
        ("http://gw", "GW", True),
        ("http://[::1]", "[::1]:80", True),
        ("https://gw", "gw:80", False),
        ("http://gw", "gw:443", False),
        ("https://gw:8443", "gw", False),
        ("http://[::1]", "[::2]", False),
        ("https://gw", "gw:", True),
        ("ftp://gw", "gw:80", False),
    ],
)
def test_a_default_port_may_be_left_out(origin, host, is_own):
    assert (refusal({"origin": origin}, host=host) is None) == is_own


@pytest.mark.parametrize(
    ("external_url", "is_own"),
    [
        ("https://metrics.example/pushgateway", True),
        ("https://metrics.example:443", True),
        ("http://metrics.example", False),
        ("https://other.example/", False),
        ("/only/a/path", False),
    ],
)
def test_behind_a_proxy_the_external_url_is_an_own_origin_too(external_url, is_own):
    said = {"origin": "https://metrics.example"}
    assert (refusal(said, external_url=external_url) is None) == is_own


@pytest.mark.parametrize(
    ("said", "is_own"),
    [
        ({"x-forwarded-host": "metrics.example"}, True),
        ({"x-forwarded-host": "metrics.example", "x-forwarded-proto": "https"}, True),
        ({"x-forwarded-host": "metrics.example:443", "x-forwarded-proto": "HTTPS"}, True),
        ({"x-forwarded-host": "metrics.example , inner.example"}, True),
        ({"x-forwarded-host": "metrics.example", "X-Forwarded-Host": "inner.example"}, True),
        ({"x-forwarded-host": "metrics.example", "x-forwarded-proto": "http"}, False),
        ({"x-forwarded-host": "inner.example, metrics.example"}, False),
        ({"x-forwarded-host": "evil.example"}, False),
        ({"x-forwarded-host": ""}, False),
        ({}, False),
    ],
)
def test_a_trusted_proxy_says_what_the_browser_asked_for(said, is_own):
    said = {"origin": "https://metrics.example", **said}
    assert (refusal(said, client=PROXY) is None) == is_own
    assert refusal(said) is not None, "nobody else is believed"


def test_without_forwarded_headers_a_trusted_proxy_changes_nothing():
    assert refusal({"origin": "http://gateway.example:9091"}, client=PROXY) is None
    assert refusal({"origin": "http://evil.example"}, client=PROXY) is not None


@pytest.mark.parametrize(
    ("client", "is_trusted"),
    [
        ("10.255.0.1", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        (None, True),  # a Unix socket
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_a_proxy_is_trusted_by_its_address(client, is_trusted):
    said = {"origin": "http://metrics.example", "x-forwarded-host": "metrics.example"}
    assert (refusal(said, client=client) is None) == is_trusted


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/metrics/job/j"),
        ("POST", "/metrics/job/j"),
        ("DELETE", "/metrics/job/j"),
        ("POST", "//metrics/job/j"),
        ("PUT", "/api/v1/admin/wipe"),
        ("POST", "/-/quit"),
    ],
)
def test_no_route_lets_another_site_write(method, target):
    served = Served(Settings(web_enable_admin_api=True, web_enable_lifecycle=True))
    served.ask("PUT", "/metrics/job/j", "m 1\n")
    for said in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = served.ask(method, target, "m 2\n", {"host": "gateway.example", **said})
        assert (answer.status, served.quits) == (403, 0)
    assert 'm{instance="",job="j"} 1\n' in served.ask("GET", "/metrics").text


def test_reading_is_open_to_other_sites_as_far_as_cors_goes():
    headers = {"host": "gateway.example", "origin": "http://other.example"}
    for method, target in (("GET", "/api/v1/metrics"), ("OPTIONS", "/api/v1/metrics")):
        assert Served().ask(method, target, headers=headers).status == 200


def test_the_servers_own_page_may_push_and_delete():
    served = Served()
    headers = {"host": "gateway.example", "origin": "http://gateway.example"}
    assert served.ask("PUT", "/metrics/job/j", "m 1\n", headers).status == 200
    assert served.ask("DELETE", "/metrics/job/j", headers=headers).status == 202

import pytest

from pushgate.server.http.origin import foreign_origin
from pushgate.server.settings import Settings
from tests.server.http.asgi import Served

HOST = {b"host": b"gateway.example:9091"}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {b"sec-fetch-site": b"same-origin"},
        {b"sec-fetch-site": b"none"},
        {b"origin": b"http://gateway.example:9091"},
        {b"origin": b"https://Gateway.Example:9091"},
        {b"sec-fetch-site": b"same-origin", b"origin": b"https://outside.example"},
    ],
)
def test_curl_libraries_and_the_servers_own_pages_may_write(said):
    assert foreign_origin({**HOST, **said}, "") is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({b"sec-fetch-site": b"cross-site"}, "Sec-Fetch-Site: cross-site"),
        ({b"sec-fetch-site": b"same-site"}, "Sec-Fetch-Site: same-site"),
        ({b"sec-fetch-site": b"Cross-Site"}, "Sec-Fetch-Site: Cross-Site"),
        (
            {b"sec-fetch-site": b"cross-site", b"origin": b"http://gateway.example:9091"},
            "another site",
        ),
        ({b"origin": b"http://evil.example"}, "'http://evil.example' is not this server"),
        ({b"origin": b"http://gateway.example"}, "'http://gateway.example' is not this server"),
        ({b"origin": b"http://gateway.example:9091@evil.example"}, "is not this server"),
        ({b"origin": b"null"}, "'null' is not this server"),
        ({b"origin": b""}, "'' is not this server"),
        ({b"origin": b"http://["}, "is not this server"),
        ({b"origin": b"http://evil\xff"}, "is not this server"),
    ],
)
def test_a_page_of_another_site_may_not(said, why):
    assert why in foreign_origin({**HOST, **said}, "")


def test_a_request_without_host_has_no_own_origin():
    assert foreign_origin({b"origin": b"null"}, "") is not None
    assert foreign_origin({b"origin": b"http://"}, "") is not None


def test_behind_a_proxy_the_external_url_is_an_own_origin_too():
    fields = {**HOST, b"origin": b"https://metrics.example"}
    assert foreign_origin(fields, "https://metrics.example/pushgateway") is None
    assert foreign_origin(fields, "https://other.example/") is not None


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

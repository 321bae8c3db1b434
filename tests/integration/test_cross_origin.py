"""Pages of other origins can neither push nor delete."""

import urllib.error
import urllib.request

from tests import browser, services
from tests.exchange import exchanged, statuses


def send(service: services.Service, method: str, path: str, body: str = "", **headers: str) -> int:
    target = f"{service.url}{path}"
    request = urllib.request.Request(
        target, body.encode(), {"Content-Type": "text/plain", **headers}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_page_of_another_origin_cannot_push_or_delete(gateway):
    with (
        browser.chromium() as chromium,
        services.pushgate() as other,
        browser.tab(chromium, browser.READERS[0], may_log="Failed to load") as page,
    ):
        send(gateway, "PUT", "/metrics/job/mine", "m 1\n")
        page.goto(f"{other.url}/static/favicon.svg")  # a page without a security policy
        target = f"{gateway.url}/metrics/job/mine"
        answered = page.evaluate(
            "target => fetch(target, {method: 'POST', mode: 'no-cors', body: 'm 2\\n'})"
            ".then(answer => answer.type)",
            target,
        )
        assert answered == "opaque"
        assert 'm{instance="",job="mine"} 1\n' in gateway.get("/metrics")


def test_small_pushes_with_a_foreign_origin_are_refused_and_others_are_not(gateway):
    path = "/metrics/job/j"
    assert send(gateway, "PUT", path, "m 1\n") == 200
    assert send(gateway, "PUT", path, "m 2\n", Origin=gateway.url) == 200
    assert send(gateway, "PUT", path, "m 3\n", Origin="http://evil.example") == 403
    assert send(gateway, "DELETE", path, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert 'm{instance="",job="j"} 2\n' in gateway.get("/metrics")


def test_an_origin_is_compared_with_the_host_of_an_absolute_target(gateway):

    def deleted(target: str, origin: str) -> int:
        head = f"DELETE {target} HTTP/1.1\r\nHost: inner\r\nOrigin: {origin}\r\n"
        return statuses(exchanged(gateway.port, f"{head}Connection: close\r\n\r\n".encode()))[0]

    path = "/metrics/job/j"
    assert deleted(f"http://gw:80{path}", "http://gw") == 202
    assert deleted(f"http://[::1]:9091{path}", "http://[::1]:9091") == 202
    assert deleted(f"http://gw{path}", "http://inner") == 403
    assert deleted(path, "http://inner") == 202

"""The web interface in a real browser."""

import urllib.error
import urllib.request

import pytest

from pushgate.server.ui.groups import group_id
from tests import browser, services, showcase
from tests.exchange import exchanged, statuses

COMMAND = [
    services.PUSHGATE,
    "serve",
    "--web.listen-address=127.0.0.1:{port}",
    "--web.route-prefix=/pg",
    "--web.enable-admin-api",
    "--persistence.file=",
]
HOSTILE = "%3Cimg%20src=x%20onerror=alert(1)%3E"


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


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return tmp_path_factory.mktemp("chromium")


def test_groups_are_found_read_and_deleted_in_a_browser(profile):
    with (
        services.running(COMMAND, ready="/pg/-/ready") as gateway,
        browser.chromium(profile) as page,
    ):
        send(gateway, "PUT", "/pg/metrics/job/backup", "files_total 1e6\n")
        send(
            gateway,
            "PUT",
            f"/pg/metrics/job/{HOSTILE}",
            f"m{{x='{HOSTILE}'}} 1\n".replace("'", '"'),
        )
        for name in ("one", "two"):
            send(gateway, "PUT", f"/pg/metrics/job/report/part/{name}", "rows 2\n")

        page.open(f"{gateway.url}/pg/")
        assert page.evaluate("document.querySelectorAll('tr[data-selector]').length") == 4

        # One group, by the keyboard: the menu of its row, then the dialog.
        page.evaluate("document.querySelector('tr[data-delete$=backup] [data-menu]').click()")
        assert page.evaluate("document.activeElement.textContent") == "Open"
        page.press("ArrowUp")
        page.press("Enter")
        page.wait_for("document.querySelector('dialog[open] .danger:enabled')")
        said = page.evaluate("document.querySelector('dialog[open]').innerText")
        assert '{job="backup"}' in said
        page.evaluate("document.querySelector('dialog .danger').click()")
        page.wait_for("document.querySelectorAll('tr[data-selector]').length === 3")
        page.wait_for("document.activeElement.closest('tr[data-selector]')")
        assert "of 3 groups" in page.evaluate("document.querySelector('.foot').innerText")
        assert "files_total" not in gateway.get("/pg/metrics")

        # What a search finds, together.
        page.open(f"{gateway.url}/pg/?q=report")
        page.evaluate("document.querySelector('[data-delete-all]').click()")
        page.wait_for("document.querySelector('dialog[open] .danger:enabled')")
        said = page.evaluate("document.querySelector('dialog[open]').innerText")
        assert "Delete these 2 groups?" in said
        assert '{job="report",part="one"}' in said
        page.evaluate("document.querySelector('dialog .danger').click()")
        page.wait_for("document.querySelector('.nothing')")
        assert "rows" not in gateway.get("/pg/metrics")

        # Its own page, from the list; then everything.
        page.open(f"{gateway.url}/pg/")
        page.evaluate("document.querySelector('tr[data-selector] a').click()")
        page.wait_for("document.querySelector('[data-delete-one]')")
        assert "<img src=x" in page.evaluate("document.querySelector('h1').innerText")
        assert "<img src=x" in page.evaluate("document.title")
        page.open(f"{gateway.url}/pg/")
        page.evaluate("document.querySelector('[data-wipe]').click()")
        page.wait_for("document.querySelector('dialog[open] .danger:enabled')")
        page.evaluate("document.querySelector('dialog .danger').click()")
        page.wait_for("document.querySelector('.nothing')")
        assert page.log == []


def test_a_page_follows_the_gateway_and_keeps_what_the_reader_does(profile):
    with (
        services.running(COMMAND, ready="/pg/-/ready") as gateway,
        browser.chromium(profile) as page,
    ):
        send(gateway, "PUT", "/pg/metrics/job/first", "m 1\n")
        page.open(f"{gateway.url}/pg/")
        page.evaluate("window.kept = document.querySelector('tr[data-selector] a'); kept.focus()")
        page.evaluate("document.getElementById('q').value = 'half a wo'")
        send(gateway, "PUT", "/pg/metrics/job/another", "m 1\n")
        page.wait_for("document.querySelectorAll('tr[data-selector]').length === 2")
        assert page.evaluate("document.activeElement === kept && kept.isConnected")
        assert page.evaluate("document.getElementById('q').value") == "half a wo"
        page.evaluate("document.getElementById('live-toggle').click()")
        assert "paused" in page.evaluate("document.getElementById('live').innerText")
        assert page.log == []


def test_credentials_in_the_url_of_a_page_do_not_break_it(profile):
    with (
        services.running(COMMAND, ready="/pg/-/ready") as gateway,
        browser.chromium(profile) as page,
    ):
        send(gateway, "PUT", "/pg/metrics/job/first", "m 1\n")
        page.open(
            f"{gateway.url.replace('//', '//user:secret@')}/pg/", as_seen=gateway.url + "/pg/"
        )
        page.evaluate("document.querySelector('[data-menu]').click()")
        page.evaluate("document.querySelector('[data-menu-delete]').click()")
        page.evaluate("document.querySelector('dialog .danger').click()")
        page.wait_for("document.querySelector('.nothing')")
        assert page.log == []


AXE = "axe.run().then(found => window.violations = JSON.stringify(found.violations, null, 1))"


def test_every_page_and_dialog_is_accessible_dark_and_light_desktop_and_phone(profile, tmp_path):
    axe = services.built("axe/node_modules/axe-core/axe.min.js").read_text()
    backup = f"/ui/group/{group_id(showcase.BACKUP)}"
    paths = ["/", "/?q=nothing", "/?q=%7B", backup, "/status", "/rules", "/help"]
    with showcase.showcase() as url, browser.chromium(profile) as page:

        def check(what: str) -> None:
            page.evaluate(axe)
            page.evaluate(f"window.violations = ''; {AXE}")
            page.wait_for("window.violations")
            assert page.evaluate("window.violations") == "[]", what
            wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not page.evaluate(wide), f"{what} is wider than the window"

        for width, dark in ((1280, False), (390, True)):
            page.screenshot(tmp_path / "page.png", width=width, height=900, dark=dark)
            for path in paths:
                page.open(url + path)
                check(f"{path} {width} dark={dark}")
        page.open(url + backup)
        page.evaluate("document.querySelector('[data-delete-one]').click()")
        page.wait_for("document.querySelector('dialog[open] .danger:enabled')")
        check("the dialog")
        assert page.log == []


def test_a_page_of_another_origin_cannot_push_or_delete(profile):
    with (
        services.pushgate() as gateway,
        services.pushgate() as other,
        browser.chromium(profile) as page,
    ):
        send(gateway, "PUT", "/metrics/job/mine", "m 1\n")
        page.open(f"{other.url}/static/favicon.svg")  # a page without a security policy
        target = f"{gateway.url}/metrics/job/mine"
        page.evaluate(
            f"fetch('{target}', {{method: 'POST', mode: 'no-cors', body: 'm 2\\n'}})"
            ".then(answer => window.answered = answer.type)"
        )
        page.wait_for("window.answered === 'opaque'")
        assert 'm{instance="",job="mine"} 1\n' in gateway.get("/metrics")


def test_small_pushes_with_a_foreign_origin_are_refused_and_others_are_not():
    with services.pushgate() as gateway:
        path = "/metrics/job/j"
        assert send(gateway, "PUT", path, "m 1\n") == 200
        assert send(gateway, "PUT", path, "m 2\n", Origin=gateway.url) == 200
        assert send(gateway, "PUT", path, "m 3\n", Origin="http://evil.example") == 403
        assert send(gateway, "DELETE", path, **{"Sec-Fetch-Site": "cross-site"}) == 403
        assert 'm{instance="",job="j"} 2\n' in gateway.get("/metrics")


def test_an_origin_is_compared_with_the_host_of_an_absolute_target():
    with services.pushgate() as gateway:

        def deleted(target: str, origin: str) -> int:
            head = f"DELETE {target} HTTP/1.1\r\nHost: inner\r\nOrigin: {origin}\r\n"
            return statuses(exchanged(gateway.port, f"{head}Connection: close\r\n\r\n".encode()))[0]

        path = "/metrics/job/j"
        assert deleted(f"http://gw:80{path}", "http://gw") == 202
        assert deleted(f"http://[::1]:9091{path}", "http://[::1]:9091") == 202
        assert deleted(f"http://gw{path}", "http://inner") == 403
        assert deleted(path, "http://inner") == 202


def test_the_files_of_the_page_are_served_to_the_end():
    with services.pushgate() as gateway:
        for name in ("style.css", "ui.js", "live.js", "delete.js", "copy.js", "favicon.svg"):
            assert len(gateway.get(f"/static/{name}")) > 100
        assert gateway.get("/-/ready") == "OK"

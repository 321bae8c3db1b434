import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import quote, urljoin, urlsplit

import pytest

from pushgate.server.access.live import LiveConfig
from pushgate.server.http.app import App
from pushgate.server.settings import Settings
from pushgate.server.ui.cards import MAX_ROWS, group_id
from pushgate.server.ui.search import PAGE
from tests.server.http.asgi import Response, Served
from tests.server.pushes import change, key, put

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Page(HTMLParser):
    """What a browser makes of a page: its tags with attributes, and all its text."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(answer.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data):
        self.text += data

    def attributes(self, name: str, tag: str = "") -> list[str]:
        return [
            attributes[name] for each, attributes in self.tags if name in attributes and tag in each
        ]


def served(*keys, body: str = "m 1\n", **settings) -> Served:
    one = Served(Settings(**settings))
    for each in keys:
        change(one.store, put(each, body, time=10**18))
    return one


def group_page(one: Served, of, query: str = "", prefix: str = "") -> Response:
    return one.ask("GET", f"{prefix}/ui/group/{group_id(of)}{query}")


def pages_of(one: Served, of) -> list[Response]:
    return [one.ask("GET", "/"), one.ask("GET", "/status"), group_page(one, of)]


def test_what_clients_push_is_text_and_never_markup():
    hostile = key(HOSTILE, instance=HOSTILE)
    escaped = HOSTILE.replace("\\", r"\\").replace('"', r"\"")
    body = f'# HELP m {HOSTILE}\n# TYPE m gauge\nm{{x="{escaped}"}} 1\n'
    one = served(hostile, body=body)
    for answer in [one.ask("GET", "/"), group_page(one, hostile)]:
        page = Page(answer)
        assert HOSTILE in page.text
        assert [tag for tag, _ in page.tags if tag in ("script", "img")] == ["script"]
        assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]


def test_what_browsers_ask_for_is_text_and_never_markup():
    page = Page(served().ask("GET", f"/?q={quote(HOSTILE)}"))
    assert HOSTILE in page.attributes("value", "input")
    assert [tag for tag, _ in page.tags if tag in ("script", "img")] == ["script"]


def test_bytes_that_are_not_utf8_do_not_break_a_page():
    one = Served()
    one.ask("PUT", "/metrics/job/j", b"# HELP m a\xffb\nm 1\n")
    assert "m" in Page(group_page(one, key())).text


def test_a_page_may_run_no_script_and_load_nothing_but_the_servers_files():
    for answer in pages_of(served(key()), key()):
        assert answer.headers["content-security-policy"] == POLICY
        page = Page(answer)
        assert not [tag for tag, attributes in page.tags if tag == "style" or "style" in attributes]
        assert [urlsplit(src).netloc for src in page.attributes("src")] == [""]


def test_the_operators_security_policy_replaces_ours(tmp_path):
    file = tmp_path / "web.yml"
    file.write_text("http_server_config: {headers: {Content-Security-Policy: default-src *}}")
    one = served(key())
    one.app = App(replace(one.context, live=LiveConfig(file)))
    policies = [answer.headers.get("content-security-policy") for answer in pages_of(one, key())]
    assert POLICY not in policies


@pytest.mark.parametrize(
    ("route_prefix", "external_url", "below", "links"),
    [
        ("", "", "", ""),
        ("/", "", "", ""),
        ("foo/", "", "/foo", ""),
        ("", "http://ex.org", "", ""),
        ("", "http://ex.org/pg/", "/pg", "/pg"),
        ("/", "http://ex.org/pg", "", "/pg"),
        ("/int", "http://ex.org/pg", "/int", "/pg"),
    ],
)
def test_links_lead_to_the_routes_below_any_prefix(route_prefix, external_url, below, links):
    this = key("a/b")
    one = served(
        this,
        web_route_prefix=route_prefix,
        web_external_url=external_url,
        web_enable_admin_api=True,
    )
    for target in (f"{below}/", f"{below}/status", f"{below}/ui/group/{group_id(this)}"):
        page = Page(one.ask("GET", target))
        found = [*page.attributes("href"), *page.attributes("src"), *page.attributes("action")]
        local = [link for link in found if not link.startswith(("http", "#"))]
        seen = urlsplit(urljoin(f"http://browser{links or below}{target[len(below) :]}", ""))
        for link in [*local, *page.attributes("data-source")]:
            assert link.startswith(f"{links}/" if links else ".")
            path = urlsplit(urljoin(seen.geturl(), link)).path
            assert one.ask("GET", below + path.removeprefix(links or below)).status == 200
    [wipe] = Page(one.ask("GET", f"{below}/")).attributes("data-wipe")
    [delete] = Page(one.ask("GET", f"{below}/")).attributes("data-delete")
    base = links or "."
    assert (wipe, delete) == (f"{base}/api/v1/admin/wipe", f"{base}/metrics/job@base64/YS9i")


def test_the_exposition_is_linked_wherever_it_is():
    page = Page(served(web_route_prefix="/x", web_telemetry_path="/scrape").ask("GET", "/x/"))
    assert "./scrape" in page.attributes("href")


def test_groups_come_in_pages():
    one = served(*(key(f"job-{i:04}") for i in range(PAGE + 1)))
    first, second = Page(one.ask("GET", "/")), Page(one.ask("GET", "/?page=2"))
    assert len(first.attributes("data-group")) == PAGE
    assert len(second.attributes("data-group")) == 1
    assert first.attributes("rel", "a")[-1] == "next"
    assert "./?page=2" in first.attributes("href")
    assert "Page 2 of 2" in second.text


def test_the_filter_is_part_of_the_url():
    page = Page(served(key("backup"), key("report")).ask("GET", "/?q=back"))
    assert len(page.attributes("data-group")) == 1
    assert "1 of 2 groups" in " ".join(page.text.split())
    assert page.attributes("data-count") == ["1"]


@pytest.mark.parametrize("query", ["?page=x", "?q=%ff%00", "?" + "a=1&" * 50, "?&&=&", "?page=-0"])
def test_a_query_that_makes_no_sense_shows_what_it_can(query):
    assert Page(served(key()).ask("GET", f"/{query}")).attributes("data-group") is not None


def test_only_with_the_admin_api_all_groups_can_be_deleted():
    assert not Page(served(key()).ask("GET", "/")).attributes("data-wipe")
    page = Page(served(key(), web_enable_admin_api=True).ask("GET", "/"))
    assert "Delete All 1 Groups" in page.text
    empty = Page(served(web_enable_admin_api=True).ask("GET", "/"))
    [button] = [attributes for _, attributes in empty.tags if "data-wipe" in attributes]
    assert "disabled" in button


def test_a_failed_push_shows_in_the_list():
    one = served(key())
    assert "Last push failed!" not in one.ask("GET", "/").text
    one.ask("PUT", "/metrics/job/j", "m 1 123\n")
    assert "Last push failed!" in one.ask("GET", "/").text


def test_a_group_has_a_page_with_its_families():
    body = '# HELP m What it is.\n# TYPE m gauge\nm{x="y"} 1e6\n'
    page = Page(group_page(served(key(), body=body), key()))
    words = " ".join(page.text.split())
    assert 'job="j"' in words
    assert "m GAUGE What it is. last pushed: 2001-09-09T0" in words
    assert 'x="y" instance="" job="j" 1000000' in words
    assert "push_failure_time_seconds GAUGE" in words


@pytest.mark.parametrize("name", ["labels", "last_push_successful"])
def test_families_may_have_any_name(name):
    page = Page(group_page(served(key(), body=f"{name} 1\n"), key()))
    assert f"{name} UNTYPED" in " ".join(page.text.split())


def test_a_large_family_is_shown_in_part_unless_all_is_asked_for():
    one = served(key(), body="".join(f'm{{i="{i}"}} 1\n' for i in range(MAX_ROWS + 7)))
    part, everything = group_page(one, key()), group_page(one, key(), "?all")
    assert "7 more metrics are not shown" in part.text
    assert part.text.count('>i="') == MAX_ROWS
    assert everything.text.count('>i="') == MAX_ROWS + 7
    assert everything.chunks > 1


@pytest.mark.parametrize("unknown", ["", "zzz", "%FF", "a", "am9i_2o/x", group_id(key("other"))])
def test_an_unknown_group_has_no_page(unknown):
    assert served(key()).ask("GET", f"/ui/group/{unknown}").status == 404


def test_the_status_page_shows_build_and_flags_but_no_password():
    one = served(web_external_url="http://user:secret@ex.org/", web_enable_admin_api=True)
    text = " ".join(Page(one.ask("GET", "/status")).text.split())
    for words in ("Started", "version", "limit.body-bytes 32MiB", "web.enable-admin-api true"):
        assert words in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("style.css", "text/css"),
        ("ui.js", "application/javascript"),
        ("favicon.svg", "image/svg+xml"),
    ],
)
def test_static_files_have_the_media_types_of_the_reference(file, kind):
    answer = served().ask("GET", f"/static/{file}")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize(
    "path", ["", "..", "%2e%2e/templates/base.html", "%2e%2e/pages.py", "nope.css", "%00"]
)
def test_only_static_files_are_served_as_such(path):
    assert served().ask("GET", f"/static/{path}").status in {301, 307, 404}


def test_no_page_depends_on_a_script_to_be_read():
    page = Page(served(key()).ask("GET", "/"))
    assert f"./ui/group/{group_id(key())}" in page.attributes("href")
    without_script = [a for tag, a in page.tags if tag == "button" and "data-delete" in a]
    assert all("hidden" in attributes for attributes in without_script)
    assert not re.search(r"\son[a-z]+=|javascript:", served(key()).ask("GET", "/").text)


def test_files_have_types_and_can_be_asked_for_again():
    served = Served()
    answer = served.ask("GET", "/static/style.css")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css")
    seen = {"If-Modified-Since": answer.headers["last-modified"]}
    assert served.ask("GET", "/static/style.css", headers=seen).status == 304
    part = served.ask("GET", "/static/style.css", headers={"Range": "bytes=0-4"})
    assert (part.status, part.body) == (206, answer.body[:5])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ui.js", "application/javascript"), ("favicon.svg", "image/svg+xml")],
)
def test_files_have_the_types_of_the_go_server(name, kind):
    assert Served().ask("GET", f"/static/{name}").headers["content-type"] == kind


@pytest.mark.parametrize(
    "name",
    [
        "nope",
        "",
        "%2e%2e/pages.py",
        "..%2Fpages.py",
        "%2Fetc%2Fpasswd",
        "a%00b",
        "%FF",
        "./style.css",
        "a/" * 1000,
    ],
)
def test_nothing_but_the_files_is_served(name):
    assert Served().ask("GET", "/static/" + name).status == 404

import asyncio
import gzip
import json
import re
import time
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import quote, urljoin, urlsplit

import bcrypt
import pytest

from pushgate.server.access.live import LiveConfig
from pushgate.server.app import App
from pushgate.server.settings import Settings
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.ui.families import MAX_ROWS
from pushgate.server.ui.groups import group_id
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
    paths = ("/", "/status", "/rules", "/help")
    return [*(one.ask("GET", path) for path in paths), group_page(one, of)]


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


def test_values_do_not_touch_what_stands_beside_them_however_long_or_reversed():
    hostile = key("\u202ereversed", path="x" * 10_000, zero="a\x01\u200b\tb")
    one = served(hostile)
    listed = one.ask("GET", "/").text
    assert listed.count("\u202ereversed</bdi>") == 2  # in its row, and among the jobs
    assert "x" * 1000 not in Page(one.ask("GET", "/")).text
    shown = group_page(one, hostile).text
    assert "<bdi>\u202ereversed</bdi>" in shown
    assert f"<bdi>{'x' * 10_000}</bdi>" in shown
    assert Page(group_page(one, hostile)).text.count("a\x01\u200b\tb") >= 1


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
    for path in ("/", "/status", "/rules", "/help", f"/ui/group/{group_id(this)}"):
        target = below + path
        page = Page(one.ask("GET", target))
        found = [*page.attributes("href"), *page.attributes("src"), *page.attributes("action")]
        local = [link for link in found if not link.startswith(("http", "#"))]
        seen = urlsplit(urljoin(f"http://browser{links or below}{target[len(below) :]}", ""))
        for link in local:
            assert link.startswith(f"{links}/" if links else ".")
            linked = urlsplit(urljoin(seen.geturl(), link))
            found = f"{below}{linked.path.removeprefix(links or below)}?{linked.query}"
            assert one.ask("GET", found).status == 200
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
    assert len(first.attributes("data-selector")) == PAGE
    assert len(second.attributes("data-selector")) == 1
    assert first.attributes("rel", "a")[-1] == "next"
    assert "./?page=2" in first.attributes("href")
    assert "page 2 of 2" in second.text


def test_the_filter_is_part_of_the_url():
    page = Page(served(key("backup"), key("report")).ask("GET", "/?q=back"))
    assert len(page.attributes("data-selector")) == 1
    assert "1\u20131 of 1 groups that match, 2 in all" in " ".join(page.text.split())


def test_another_search_keeps_filters_and_order():
    page = Page(served(key()).ask("GET", "/?q=a&state=failed&older_than=1d&sort=-pushed&page=2"))
    sent = {tag["name"]: tag["value"] for _, tag in page.tags if tag.get("type") == "hidden"}
    assert sent == {"state": "failed", "older_than": "24h0m0s", "sort": "-pushed"}


def test_a_broken_selector_is_explained_beside_the_search():
    page = Page(served(key()).ask("GET", "/?q=" + quote('{job="j"')))
    assert 'position 9: expected "," or "}", found the end' in page.text
    assert page.attributes("aria-invalid") == ["true"]


@pytest.mark.parametrize("query", ["?page=x", "?q=%ff%00", "?" + "a=1&" * 50, "?&&=&", "?page=-0"])
def test_a_query_that_makes_no_sense_shows_what_it_can(query):
    assert Page(served(key()).ask("GET", f"/{query}")).attributes("value", "input") is not None


def test_only_with_the_admin_api_all_groups_can_be_deleted():
    assert not Page(served(key()).ask("GET", "/")).attributes("data-wipe")
    page = Page(served(key(), web_enable_admin_api=True).ask("GET", "/"))
    assert "Delete all 1…" in page.text
    empty = Page(served(web_enable_admin_api=True).ask("GET", "/"))
    assert not empty.attributes("data-wipe")


def test_a_failed_push_shows_in_the_list_with_its_reason():
    one = served(key())
    assert "refused" not in Page(one.ask("GET", "/")).text
    one.ask("PUT", "/metrics/job/j", "m 1 123\n")
    text = " ".join(Page(one.ask("GET", "/")).text.split())
    assert "Last push failed" in text
    assert "refused 0 s ago from 127.0.0.1: pushed metrics must not have timestamps" in text
    assert "timestamps Send the samples without; push_time_seconds says when" in text


def test_a_late_group_shows_as_late(tmp_path):
    rules = tmp_path / "rules.yml"
    rules.write_text("rules: [{match: '{job=\"j\"}', expect_every: 1h}]")
    page = Page(served(key(), push_rules_file=str(rules)).ask("GET", "/?state=late"))
    assert len(page.attributes("data-selector")) == 1
    assert "every 1 h" in page.text


def test_the_groups_that_would_be_deleted_are_listed_with_their_paths():
    one = served(key("a/b"), key("c"), key("d"))
    answer = one.ask("GET", "/ui/groups?q=" + quote('{job!="d"}'))
    assert json.loads(answer.body) == {
        "groups": [
            {"name": '{job="a/b"}', "path": "metrics/job@base64/YS9i"},
            {"name": '{job="c"}', "path": "metrics/job/c"},
        ]
    }


def test_who_may_only_read_is_not_offered_to_delete(tmp_path):
    file = tmp_path / "web.yml"
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    file.write_text(
        f"basic_auth_users: {{reader: '{hashed}'}}\n"
        "permissions: {users: {reader: [{allow: [read, push]}, {allow: [delete], jobs: [mine]}]}}\n"
    )
    one = Served(Settings(web_enable_admin_api=True), web_config=file)
    change(one.store, put(key("mine"), "m 1\n", time=10**18))
    change(one.store, put(key("theirs"), "m 1\n", time=10**18))
    reader = {"Authorization": "Basic " + b64encode(b"reader:secret").decode()}

    def shown(target: str) -> Page:
        return Page(one.ask("GET", target, headers=reader))

    assert shown("/").attributes("data-delete") == ["./metrics/job/mine"]
    assert not shown("/").attributes("data-wipe")
    assert not shown("/?q=m").attributes("data-delete-all")
    assert shown("/?q=mine").attributes("data-delete-all")
    assert shown(f"/ui/group/{group_id(key('mine'))}").attributes("data-delete")
    assert not shown(f"/ui/group/{group_id(key('theirs'))}").attributes("data-delete")
    listed = json.loads(one.ask("GET", "/ui/groups?q=m", headers=reader).body)["groups"]
    assert [group["path"] for group in listed] == ["metrics/job/mine"]


def test_a_group_has_a_page_with_its_families():
    body = '# HELP m_bytes What it is.\n# TYPE m_bytes gauge\nm_bytes{x="y"} 1e6\n'
    answer = group_page(served(key(instance="i"), body=body), key(instance="i"))
    assert answer.text.count("<i>instance=</i>") == 1
    page = Page(answer)
    words = " ".join(page.text.split())
    assert "j instance=i" in words
    assert "m_bytes gauge bytes What it is. pushed" in words
    assert "x=y 1 MB 1000000" in words
    assert "push_failure_time_seconds gauge" in words


@pytest.mark.parametrize("name", ["labels", "last_push_successful"])
def test_families_may_have_any_name(name):
    page = Page(group_page(served(key(), body=f"{name} 1\n"), key()))
    assert f"{name} untyped" in " ".join(page.text.split())


def test_a_large_family_is_shown_in_part_unless_all_is_asked_for():
    one = served(key(), body="".join(f'm{{i="{i}"}} 1\n' for i in range(MAX_ROWS + 7)))
    part, everything = group_page(one, key()), group_page(one, key(), "?all")
    assert "7 more metrics are not shown" in part.text
    assert part.text.count("<i>i=</i>") == MAX_ROWS
    assert everything.text.count("<i>i=</i>") == MAX_ROWS + 7
    assert everything.chunks > 1


@pytest.mark.parametrize("unknown", ["", "zzz", "%FF", "a", "am9i_2o/x", group_id(key("other"))])
def test_an_unknown_group_has_no_page(unknown):
    assert served(key()).ask("GET", f"/ui/group/{unknown}").status == 404


def test_the_status_page_shows_build_and_flags_but_no_password():
    one = served(web_external_url="http://user:secret@ex.org/", web_enable_admin_api=True)
    text = " ".join(Page(one.ask("GET", "/status")).text.split())
    for words in ("Up", "in memory", "version", "--limit.body-bytes 32MiB", "0 changed"):
        assert words in text
    assert "secret" not in text


def test_the_status_page_shows_changed_flags_first():
    one = served(limit_groups=7, given=frozenset({"limit_groups", "limit_series"}))
    text = " ".join(Page(one.ask("GET", "/status")).text.split())
    assert "Flags1 changed --limit.groups 7 Show all" in text
    assert "groups 0 of 7" in text


def test_the_status_page_shows_scrapes_and_refused_pushes():
    one = served()
    one.ask("GET", "/metrics", headers={"User-Agent": "Prometheus/3.5.0"})
    one.ask("PUT", "/metrics/job/j/instance/i", "m x\n")
    one.ask("PUT", "/metrics/job/j/odd", "m 1\n")
    text = " ".join(Page(one.ask("GET", "/status")).text.split())
    assert "1 body, 1 grouping-key" in text or "1 grouping-key, 1 body" in text
    assert "127.0.0.1 job=jinstance=i body text format parsing error in line 1" in text
    assert "0 s ago 127.0.0.1 Prometheus/3.5.0" in text


def test_the_rules_page_shows_each_rule_with_its_groups(tmp_path):
    rules = tmp_path / "rules.yml"
    rules.write_text(
        "rules: [{match: '{job=\"j\"}', expect_every: 1h, ttl: 2000000h, "
        "aggregate: {counter: sum, rows: max}}]"
    )
    one = served(key(), key("other"), push_rules_file=str(rules))
    text = " ".join(Page(one.ask("GET", "/rules")).text.split())
    assert '{job="j"} every 1 h after 83333 d never counter sum, rows max 1 Late 1 ' in text
    assert '{job="j"} every 1 h after' in " ".join(Page(one.ask("GET", "/status")).text.split())
    assert "all others \u2013 never never \u2013 1 OK 1" in text


def test_the_rules_page_counts_what_expired_and_what_was_forgotten(tmp_path):
    rules = tmp_path / "rules.yml"
    rules.write_text(
        "rules: [{match: '{job=\"old\"}', ttl: 1h}, {match: '{job=\"older\"}', forget_after: 1h}]"
    )
    one = Served(Settings(push_rules_file=str(rules)))

    async def asked() -> str:
        one.gateway.start()
        for job in ("old", "older"):
            await one.gateway.apply(put(key(job), "m 1\n", time=10**18))
        answer = await one.asked("GET", "/rules")
        await one.gateway.close()
        return " ".join(Page(answer).text.split())

    text = asyncio.run(asked())
    assert '{job="old"} \u2013 after 1 h1 so far never \u2013 1 Expired 1' in text
    assert '{job="older"} \u2013 never1 so far after 1 h1 so far \u2013 0' in text


def test_the_status_page_plots_the_last_hour():
    one = served()
    recent = one.telemetry.recent
    for second in range(150):
        recent.count([0.002], time.perf_counter() - 150 + second)
    text = one.ask("GET", "/status").text
    assert "<title>2 min ago: rate 1</title>" in text
    assert "<title>1 min ago: p50 2 ms, p99 2 ms</title>" in text
    assert "p50 2 ms · p99 2 ms" in text


def test_the_status_page_says_when_the_file_was_last_written(tmp_path):
    file = tmp_path / "pushgate.db"
    journal = SqliteJournal(file)
    journal.load()
    one = Served(Settings(persistence_file=str(file)), journal=journal)
    text = " ".join(Page(one.ask("GET", "/status")).text.split())
    assert re.search(r"durablepushgate.db [\d.]+ k?B, checkpoint \d+ s ago · log \d+", text), text
    journal.close()


def test_the_help_is_for_the_address_that_was_asked():
    text = Page(served().ask("GET", "/help", headers={"Host": "gw:9091"})).text
    assert 'targets: ["gw:9091"]' in text
    assert "http://gw:9091/metrics/job/backup/instance/db1" in text
    outside = served(web_external_url="https://ex.org/pg/", web_telemetry_path="/scrape")
    text = Page(outside.ask("GET", "/pg/help")).text
    for words in ('targets: ["ex.org"]', "scheme: https", "metrics_path: /pg/scrape"):
        assert words in text
    assert 'push_to_gateway("https://ex.org/pg"' in text


def test_pages_have_titles_of_their_own():
    one = served(key("backup", instance="db"))
    pages = pages_of(one, key("backup", instance="db"))
    titles = [re.search("<title>(.*)</title>", answer.text)[1] for answer in pages]
    assert titles == [
        f"{name} · Pushgate" for name in ("Groups", "Status", "Rules", "Help", "backup instance=db")
    ]


@pytest.mark.parametrize(
    ("path", "home"),
    [("/nope", "./"), ("/a/b", "./../"), (f"/ui/group/{group_id(key('gone'))}", "../../")],
)
def test_browsers_get_a_page_where_nothing_is(path, home):
    answer = served().ask("GET", path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert f'<a href="{home}">All groups</a>' in answer.text
    assert served().ask("GET", path).body == b"404 page not found\n"


def test_pages_are_compressed_for_who_takes_that():
    one = served(key())
    plain, packed = (
        one.ask("GET", "/", headers={"Accept-Encoding": coding})
        for coding in ("identity", "gzip, deflate, br, zstd")
    )
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"
    assert b"<h1" in gzip.decompress(packed.body)
    assert 2 * len(packed.body) < len(plain.body)


def test_no_page_depends_on_a_script_to_be_read():
    page = Page(served(key()).ask("GET", "/"))
    assert f"./ui/group/{group_id(key())}" in page.attributes("href")
    needs_script = [a for tag, a in page.tags if tag == "button" and a.get("type") == "button"]
    assert [a for a in needs_script if "hidden" not in a] == [
        {"type": "button", "id": "live-toggle", "class": "plain"},  # within what is hidden
        {"type": "button", "role": "menuitem", "tabindex": "-1"},  # in a menu that is closed
        {"type": "button", "role": "menuitem", "tabindex": "-1", "class": "delete"},
    ]
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
    answer = Served().ask("GET", f"/static/{name}")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)


def test_the_dark_differs_in_colors_alone():
    style = Served().ask("GET", "/static/style.css").text
    _, dark = style.split("@media (prefers-color-scheme: dark) {\n")
    assert dark.startswith("  :root {\n    --light: ;\n    --dark: initial;\n  }\n}\n")
    pairs = re.findall(r"--[a-z-]+: var\(--light, (.*)\) var\(--dark, (.*)\);", style)
    assert len(pairs) == style.count("var(--dark") == style.count("var(--light") > 0
    assert all(re.fullmatch("#[0-9a-f]{3}|#[0-9a-f]{6}", color) for pair in pairs for color in pair)


@pytest.mark.parametrize(
    "name",
    [
        "nope",
        "",
        "..",
        "%2e%2e/pages.py",
        "%2e%2e/templates/base.html",
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


def test_a_static_file_is_sent_anew_to_who_names_too_many_versions_of_it():
    one = served()
    etag = one.ask("GET", "/static/style.css").headers["etag"]
    asked = [
        one.ask("GET", "/static/style.css", headers={"If-None-Match": etags})
        for etags in (etag, f"{etag}, " * 1000)
    ]
    assert [answer.status for answer in asked] == [304, 200]

"""Everything that people do with the pages, in a real browser."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Page, expect

from pushgate.server.ui.groups import group_id
from tests import services, showcase
from tests.browser import (
    IN_THE_DARK,
    ON_DESKTOP,
    ON_PHONE,
    READERS,
    WITHOUT_SCRIPTS,
    Reader,
    chromium,
)
from tests.exchange import ask
from tests.server.pushes import key

# Quotes, HTML, control characters, right to left, and more than fits on two screens.
HOSTILE = {
    "html": "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;",
    "control": "a\x01\x1b[31m\x7f\u200b\tb\nc",
    "reversed": "\u202eabc\u2066def",
    "long": "x" * 10_000,
}
BACKUP = f"ui/group/{group_id(showcase.BACKUP)}"
ROWS = "tr[data-selector]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def company() -> Iterator[str]:
    """A gateway with groups as a company has them: nothing changes in it. Its URL ends in /."""
    with showcase.showcase() as url:
        yield f"{url}/"


class Gateway:
    """A gateway below a prefix."""

    def __init__(self, service: services.Service) -> None:
        self.service = service
        self.url = f"{service.url}/pg/"

    def push(self, job: str, body: str = "m 1\n", **labels: str) -> None:
        parts = "".join(
            f"/{name}@base64/{urlsafe_b64encode(value.encode()).decode()}"
            for name, value in {"job": job, **labels}.items()
        )
        answer = ask(self.service.port, "PUT", f"/pg/metrics{parts}", body.encode())
        assert answer.status == 200, answer

    def wipe(self) -> None:
        assert ask(self.service.port, "PUT", "/pg/api/v1/admin/wipe", b"").status == 202

    @property
    def metrics(self) -> str:
        return self.service.get("/pg/metrics")


@pytest.fixture(scope="module")
def running_gateway() -> Iterator[Gateway]:
    command = [
        services.PUSHGATE,
        "serve",
        "--web.listen-address=127.0.0.1:{port}",
        "--web.route-prefix=/pg",
        "--web.enable-admin-api",
        "--persistence.file=",
    ]
    with services.running(command, ready="/pg/-/ready") as service:
        yield Gateway(service)


@pytest.fixture
def gateway(running_gateway) -> Gateway:
    running_gateway.wipe()
    return running_gateway


def read_by(*readers: Reader) -> pytest.MarkDecorator:
    """Runs a test for each of *readers*."""
    return pytest.mark.parametrize("reader", readers, ids=lambda reader: reader.name)


# --- Groups -------------------------------------------------------------------------------------


@read_by(*READERS)
def test_a_group_is_found_and_read(browser, gateway, reader):
    gateway.push("backup", "# TYPE size_bytes gauge\nsize_bytes 835306302261\n", instance="db")
    gateway.push("report", part="one")
    with reader.tab(browser) as page:
        page.goto(gateway.url)
        expect(page.locator(ROWS)).to_have_count(2)
        page.get_by_label("Search").fill("size db")
        page.keyboard.press("Enter")
        expect(page.locator(ROWS)).to_have_count(1)
        assert page.url.endswith("/pg/?q=size+db")
        page.get_by_label("Search").fill('{part!=""}')
        page.keyboard.press("Enter")
        expect(page.locator(ROWS)).to_have_text(re.compile("report"))
        page.go_back()
        expect(page.get_by_label("Search")).to_have_value("size db")
        page.get_by_role("link", name="backup", exact=True).first.click()
        expect(page).to_have_title("backup instance=db · Pushgate")
        expect(page.locator("h1")).to_have_text(re.compile("backup"))
        expect(page.locator(".metric", has_text="835 GB")).to_be_visible()
        raw = page.get_by_role("link", name="Raw exposition").get_attribute("href")
        exposition = page.request.get(urljoin(page.url, raw)).text()
        assert 'size_bytes{instance="db",job="backup"} 8.35306302261e+11' in exposition


@read_by(ON_DESKTOP, WITHOUT_SCRIPTS)
def test_groups_are_filtered_sorted_and_turned_over_by_links(browser, gateway, reader):
    for number in range(60):
        gateway.push(f"job-{number % 3}", "m 1\n" * (number == 0) + f"n{number} 1\n", n=f"{number}")
    with reader.tab(browser) as page:
        page.goto(gateway.url)
        page.get_by_role("link", name="Next").click()
        expect(page.locator(ROWS)).to_have_count(10)
        assert page.url.endswith("?page=2")
        filters = page.get_by_role("navigation", name="Filters")
        filters.get_by_role("link", name="job-1").click()
        expect(page.locator(".foot")).to_have_text(re.compile("20 groups that match, 60 in all"))
        page.get_by_role("link", name="Series").click()
        page.get_by_role("link", name="Show all").click()
        page.get_by_role("link", name="Series").click()
        page.get_by_role("link", name="Series").click()
        expect(page.locator("th[aria-sort=descending]")).to_have_text(re.compile("Series"))
        expect(page.locator(ROWS).first).to_have_text(re.compile(r"job-0.*\s2\s", re.DOTALL))


def test_a_broken_selector_is_explained(browser, gateway):
    with WITHOUT_SCRIPTS.tab(browser) as page:
        page.goto(f"{gateway.url}?q=%7Bjob")
        expect(page.get_by_role("alert")).to_have_text(re.compile("position 5: expected"))


def test_the_chips_show_what_is_late_failed_or_old(browser, company):
    with ON_DESKTOP.tab(browser) as page:
        page.goto(company)
        page.get_by_role("link", name="Late 2").first.click()
        expect(page.locator(ROWS)).to_have_count(2)
        page.goto(company)
        page.get_by_role("link", name="Failed 1", exact=True).click()
        expect(page.locator(".why")).to_have_text(re.compile("refused .* ago from 127.0.0.1"))
        page.get_by_role("link", name="Show all").click()
        page.get_by_role("link", name="Older than 1 d").click()
        expect(page.locator(ROWS)).to_have_text([re.compile("certificate_renewal")])


# --- Deletions ----------------------------------------------------------------------------------


def confirm(page: Page, *words: str) -> None:
    dialog = page.get_by_role("dialog")
    for word in words:
        expect(dialog).to_contain_text(word)
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_be_hidden()


def test_one_group_is_deleted_by_the_keyboard(browser, gateway):
    for job in ("backup", "import", "report"):
        gateway.push(job)
    with ON_DESKTOP.tab(browser) as page:
        page.goto(gateway.url)
        page.get_by_role("button", name="Actions for import").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("menuitem", name="Open")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Actions for import")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        confirm(page, "Delete this group?", '{job="import"}')
        expect(page.locator(ROWS)).to_have_count(2)
        expect(page.locator(ROWS).nth(1).get_by_role("link")).to_be_focused()
        expect(page.locator(".foot")).to_contain_text("of 2 groups")
        assert 'job="import"' not in gateway.metrics


@read_by(ON_DESKTOP, IN_THE_DARK)
def test_what_a_search_finds_is_named_and_deleted(browser, gateway, reader):
    gateway.push("backup")
    for part in ("one", "two"):
        gateway.push("report", part=part)
    with reader.tab(browser) as page:
        page.goto(f"{gateway.url}?q=report")
        page.get_by_role("button", name="Delete these 2").click()
        confirm(page, "Delete these 2 groups?", '{job="report",part="one"}', 'part="two"')
        expect(page.get_by_text("No group matches.")).to_be_visible()
        page.goto(gateway.url)
        expect(page.locator(ROWS)).to_have_count(1)


def test_everything_is_deleted(browser, gateway):
    gateway.push("backup")
    with ON_DESKTOP.tab(browser) as page:
        page.goto(gateway.url)
        page.get_by_role("button", name="Delete all 1").click()
        confirm(page, "Delete all 1?", "This cannot be undone.")
        expect(page.get_by_text("Nothing has been pushed yet.")).to_be_visible()


@read_by(*READERS[:-1])
def test_a_group_is_deleted_on_its_page_beside_its_name(browser, gateway, reader):
    gateway.push("backup", "".join(f"m{n} 1\n" for n in range(100)))
    with reader.tab(browser) as page:
        page.goto(gateway.url)
        page.get_by_role("link", name="backup", exact=True).last.click()
        button = page.get_by_role("button", name="Delete group")
        expect(button).to_be_in_viewport()
        button.click()
        confirm(page, '{job="backup"}')
        expect(page.get_by_text("Nothing has been pushed yet.")).to_be_visible()
        assert page.url == gateway.url


def test_a_deletion_that_fails_says_why(browser, gateway):
    gateway.push("backup")
    with ON_DESKTOP.tab(browser) as page:
        page.goto(gateway.url)
        page.route("**/metrics/job/backup", lambda route: route.fulfill(status=202, body=""))
        page.unroute("**/metrics/job/backup")
        page.evaluate(f"document.querySelector('{ROWS}').dataset.delete = './metrics/job'")
        page.evaluate("window.fetch = async () => new Response('disk full', {status: 503})")
        page.get_by_role("button", name="Actions for backup").click()
        page.get_by_role("menuitem", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_role("alert")).to_have_text("Not deleted: 503 disk full")
        expect(page.get_by_role("dialog")).to_contain_text('{job="backup"}')


def test_without_scripts_nothing_is_offered_that_needs_them(browser, gateway):
    gateway.push("backup")
    with WITHOUT_SCRIPTS.tab(browser) as page:
        for path in ("", f"ui/group/{group_id(key('backup'))}", "status", "rules", "help"):
            page.goto(gateway.url + path)
            expect(page.locator("h1")).to_be_attached()
            assert page.locator("button:visible:not(.unseen)").count() == 0, path


def test_credentials_in_the_url_break_nothing(browser, gateway):
    gateway.push("backup")
    with ON_DESKTOP.tab(browser) as page:
        page.goto(gateway.url.replace("//", "//user:secret@"))
        page.get_by_role("button", name="Actions for backup").click()
        page.get_by_role("menuitem", name="Delete").click()
        confirm(page)
        expect(page.get_by_text("Nothing has been pushed yet.")).to_be_visible()


# --- A group ------------------------------------------------------------------------------------


@read_by(*READERS)
def test_every_kind_of_family_is_drawn(browser, company, reader):
    with reader.tab(browser) as page:
        page.goto(company + BACKUP)
        native = page.locator("section", has_text="backup_chunk_duration_seconds").first
        assert native.locator("rect").count() > 20
        expect(native.locator("svg.chart")).to_have_accessible_name(re.compile("p50 .* p99"))
        for name in ("count", "sum", "mean", "p50", "p90", "p99"):
            expect(native.locator("dt", has_text=name)).to_be_visible()
        expect(page.locator(".quantiles th")).to_have_text(["p50", "p90", "p99"])
        expect(native.locator("pre")).to_be_hidden()
        native.locator("summary").click()
        expect(native.locator("pre")).to_have_text(re.compile(r"\{count:"))


def test_what_is_copied_is_what_it_says(browser, company):
    with ON_DESKTOP.tab(browser, permissions=["clipboard-read", "clipboard-write"]) as page:

        def copied(start: str) -> None:
            page.wait_for_function(
                "start => navigator.clipboard.readText().then(text => text.startsWith(start))",
                arg=start,
            )

        page.goto(company + BACKUP)
        selector = '{job="nightly_backup",dataset="billing",instance="db-eu-3"}'
        for button, start in (
            ("Copy selector", selector),
            ("Copy alert rule", "- alert: NightlyBackupIsLate"),
            ("Copy curl", f"curl --data-binary @metrics.txt {company}metrics/job/nightly_backup/"),
            ("Copy delete command", "pushgate delete --address"),
            ("copy PromQL", f"backup_chunk_duration_seconds{selector}"),
        ):
            page.get_by_role("button", name=button).first.click()
            copied(start)
        expect(page.locator("#said")).to_have_text("Copied.")
        # A number that is written for people is copied as it was pushed.
        page.get_by_text("835 GB").evaluate("value => getSelection().selectAllChildren(value)")
        page.keyboard.press("Control+c")
        copied("835306302261")


def test_what_was_opened_stays_open(browser, company):
    with ON_DESKTOP.tab(browser) as page:
        page.goto(company + BACKUP)
        page.locator("summary").first.click()
        page.reload()
        expect(page.locator("details").first).to_have_attribute("open", "")


# --- Live ---------------------------------------------------------------------------------------


def refreshed(page: Page, is_done: Callable[[], bool]) -> None:
    """Lets the browser ask again until it is done. It may get a page from a moment ago."""
    for _ in range(100):
        page.clock.run_for(5_000)
        page.wait_for_timeout(100)
        if is_done():
            return
    pytest.fail("no refresh brought it")


def test_a_page_follows_the_gateway_and_keeps_what_its_reader_does(browser, gateway):
    gateway.push("first")
    with ON_DESKTOP.tab(browser) as page:
        page.clock.install()
        page.goto(gateway.url)
        page.evaluate("kept = document.querySelector('tr[data-selector] a'); kept.focus()")
        page.get_by_label("Search").evaluate("field => field.value = 'half a wo'")
        gateway.push("another")
        refreshed(page, lambda: page.locator(ROWS).count() == 2)
        assert page.evaluate("document.activeElement === kept && kept.isConnected")
        expect(page.get_by_label("Search")).to_have_value("half a wo")


def test_the_ages_on_a_page_count_on(browser, gateway):
    gateway.push("first")
    with ON_DESKTOP.tab(browser) as page:
        page.clock.install()
        page.goto(gateway.url)
        page.get_by_role("button", name="pause").click()
        page.clock.run_for(125_000)
        expect(page.locator(f"{ROWS} time")).to_have_text("2 min ago")


def test_a_page_is_paused_and_goes_on(browser, gateway):
    gateway.push("first")
    with ON_PHONE.tab(browser) as page:
        page.clock.install()
        page.goto(gateway.url)
        page.get_by_role("button", name="pause").click()
        expect(page.locator("#bar")).to_have_text(re.compile("Paused. This is how it was at "))
        gateway.push("another")
        page.clock.run_for(20_000)
        expect(page.locator(ROWS)).to_have_count(1)
        page.get_by_role("button", name="resume").click()
        refreshed(page, lambda: page.locator(ROWS).count() == 2)
        expect(page.locator("#bar")).to_be_empty()


def test_a_tab_in_the_background_asks_nothing(browser, gateway):
    with ON_DESKTOP.tab(browser) as page:
        page.clock.install()
        page.goto(gateway.url)
        page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away})")
        page.evaluate("window.away = true")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.run_for(60_000)
        assert asked == []
        gateway.push("first")
        page.evaluate("away = false; document.dispatchEvent(new Event('visibilitychange'))")
        refreshed(page, lambda: page.locator(ROWS).count() == 1)


def test_a_page_says_when_the_gateway_is_gone_and_when_it_is_back(browser, gateway):
    gateway.push("first")
    with ON_DESKTOP.tab(browser) as page:
        page.clock.install()
        page.goto(gateway.url)
        page.evaluate("() => { asks = fetch; fetch = async () => { throw new TypeError() } }")
        page.clock.run_for(6_000)
        expect(page.get_by_role("status").first).to_have_text(
            re.compile(r"The gateway does not answer. This is how it was at [\d:]+; trying again")
        )
        page.evaluate("() => { fetch = asks }")
        page.clock.run_for(6_000)
        expect(page.locator("#bar")).to_have_text("The gateway answers again.")
        page.clock.run_for(5_000)
        expect(page.locator("#bar")).to_be_empty()


def test_nothing_is_sent_again_while_nothing_changes(browser, gateway):
    with ON_DESKTOP.tab(browser) as page:
        page.clock.install()
        page.goto(gateway.url)
        statuses: list[int] = []
        page.on("response", lambda response: statuses.append(response.status))
        refreshed(page, lambda: 304 in statuses)
        expect(page.locator("#live-text")).to_have_text(re.compile("live"))


# --- Every page ---------------------------------------------------------------------------------


AXE = "axe.run().then(found => found.violations.map(one => `${one.id}: ${one.nodes[0].html}`))"


def faults(page: Page) -> list[str]:
    """What axe-core finds, and whether the page is wider than the window."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(services.built("axe/node_modules/axe-core/axe.min.js").read_text())
    wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return [*page.evaluate(AXE), *(["wider than the window"] if wide else [])]


PAGES = {
    "groups": "",
    "nothing found": "?q=nothing",
    "broken selector": "?q=%7B",
    "group": BACKUP,
    "status": "status",
    "rules": "rules",
    "help": "help",
    "no such page": "nope/nowhere",
    "no such group": f"ui/group/{group_id(key('gone'))}",
}


@read_by(ON_DESKTOP, IN_THE_DARK)
def test_every_page_menu_and_dialog_is_accessible(browser, company, reader):
    found: dict[str, list[str]] = {}
    with reader.tab(browser, may_log="404 (Not Found)") as page:
        for name, path in PAGES.items():
            page.goto(company + path)
            found[name] = faults(page)
        page.goto(company + BACKUP)
        for summary in page.locator("summary").all():
            summary.click()
        found["opened"] = faults(page)
        page.get_by_role("button", name="Delete group").click()
        expect(page.get_by_role("dialog").get_by_role("button", name="Delete")).to_be_enabled()
        found["dialog"] = faults(page)
        page.goto(company)
        if reader is ON_DESKTOP:
            page.get_by_role("button", name="Actions").first.click()
            found["menu"] = faults(page)
        page.evaluate("document.getElementById('bar').textContent = 'Something is wrong.'")
        page.evaluate("document.getElementById('bar').className = 'broken'")
        found["bar"] = faults(page)
    assert {name: some for name, some in found.items() if some} == {}


@read_by(*READERS)
def test_hostile_values_are_text_that_stays_in_its_place(browser, gateway, reader):
    help_ = HOSTILE["html"]
    quoted = HOSTILE["html"].replace("\\", r"\\").replace('"', r"\"")
    for name, value in HOSTILE.items():
        gateway.push(value, f'# HELP m {help_}\n# TYPE m gauge\nm{{x="{quoted}"}} 1\n', of=name)
    gateway.push("last", "other 1\n", **HOSTILE)
    with reader.tab(browser) as page:
        page.goto(gateway.url)
        expect(page.locator(ROWS)).to_have_count(5)
        tallest = max(row.bounding_box()["height"] for row in page.locator(ROWS).all())
        assert tallest < 200
        expect(page.get_by_role("link", name=HOSTILE["html"][:20]).last).to_be_visible()
        for job, of in ((HOSTILE[name], name) for name in HOSTILE):
            page.goto(f"{gateway.url}ui/group/{group_id(key(job, of=of))}")
            expect(page.locator("h1 bdi")).to_have_text(job, use_inner_text=False)
            expect(page.locator(".family p", has_text=help_[:30]).first).to_be_visible()
            assert page.locator(".actions").bounding_box()["y"] < 500, of
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), of
        assert page.locator("img").count() == 0
        if reader.has_scripts:
            assert faults(page) == []


def test_every_snippet_of_the_help_can_be_copied(browser, company):
    with ON_DESKTOP.tab(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(f"{company}help")
        for snippet in page.locator("figure").all():
            snippet.get_by_role("button").click()
            expect(snippet.get_by_role("button")).to_have_text("Copied")
            text = snippet.locator("pre").text_content()
            assert page.evaluate("navigator.clipboard.readText()") == text


def test_the_files_of_the_page_are_served_to_the_end(gateway):
    for name in ("style.css", "ui.js", "live.js", "delete.js", "copy.js", "favicon.svg"):
        assert len(gateway.service.get(f"/pg/static/{name}")) > 100
    assert gateway.service.get("/pg/-/ready") == "OK"

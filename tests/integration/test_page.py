"""Everything that people do with the pages, in a real browser."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Page, expect

from pushgate.server.ui.groups import group_id
from tests import services, showcase
from tests.browser import READERS, WITH_SCRIPTS, Reader, Tab, chromium
from tests.exchange import ask
from tests.server.pushes import key

# Quotes, HTML, control characters, right to left, and more than fits on two screens.
HOSTILE = {
    "html": "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;",
    "control": "a\x01\x1b[31m\x7f\u200b\tb\nc",
    "reversed": "\u202eabc\u2066def",
    "long": "x" * 10_000,
}


def group_path(job: str, **labels: str) -> str:
    return f"ui/group/{group_id(key(job, **labels))}"


BACKUP = f"ui/group/{group_id(showcase.BACKUP)}"
ROWS = "tr[data-selector]"


ON_DESKTOP, _, WITHOUT_SCRIPTS = READERS


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(browser) -> Tab:
    return Tab(browser)


@pytest.fixture(scope="module")
def tab_without_scripts(browser) -> Tab:
    return Tab(browser, has_scripts=False)


@pytest.fixture(scope="module")
def tab_with_clock(browser) -> Tab:
    return Tab(browser)


@pytest.fixture(params=READERS, ids=lambda reader: reader.name)
def reader(request) -> Reader:
    return request.param


@pytest.fixture
def page(reader, tab, tab_without_scripts) -> Iterator[Page]:
    """A page as each of the readers sees it."""
    tab = tab if reader.has_scripts else tab_without_scripts
    with tab.read_by(reader) as page:
        yield page
    tab.forget()


@pytest.fixture(params=WITH_SCRIPTS, ids=lambda reader: reader.name)
def live(request, tab_with_clock) -> Iterator[Page]:
    """A page of which the test sets the clock."""
    with tab_with_clock.read_by(request.param) as page:
        page.clock.install()
        yield page
    tab_with_clock.forget()


def only(*readers: Reader) -> pytest.MarkDecorator:
    """Runs a test for *readers*, who have what it is about."""
    return pytest.mark.parametrize("reader", readers, ids=lambda reader: reader.name)


with_scripts = only(*WITH_SCRIPTS)


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
    with services.pushgate("--web.route-prefix=/pg", "--web.enable-admin-api") as service:
        yield Gateway(service)


@pytest.fixture
def gateway(running_gateway) -> Gateway:
    running_gateway.wipe()
    return running_gateway


# --- Groups -------------------------------------------------------------------------------------


def test_a_group_is_found_and_read(page, gateway):
    gateway.push("backup", "# TYPE size_bytes gauge\nsize_bytes 835306302261\n", instance="db")
    gateway.push("report", part="one")
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


# A phone has no room for the filters, and none for the headers.
@only(ON_DESKTOP, WITHOUT_SCRIPTS)
def test_groups_are_filtered_sorted_and_turned_over_by_links(page, gateway):
    for number in range(60):
        gateway.push(f"job-{number % 3}", "m 1\n" * (number == 0) + f"n{number} 1\n", n=f"{number}")
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


def test_a_broken_selector_is_explained(page, gateway):
    page.goto(f"{gateway.url}?q=%7Bjob")
    expect(page.get_by_role("alert")).to_have_text(re.compile("position 5: expected"))


def test_the_chips_show_what_is_late_failed_or_old(page, company):
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


# A phone has no room for the menu: there, a group is deleted on its page.
@only(ON_DESKTOP)
def test_one_group_is_deleted_by_the_keyboard(page, gateway):
    for job in ("backup", "import", "report"):
        gateway.push(job)
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


@with_scripts
def test_what_a_search_finds_is_named_and_deleted(page, gateway):
    gateway.push("backup")
    for part in ("one", "two"):
        gateway.push("report", part=part)
    page.goto(f"{gateway.url}?q=report")
    page.get_by_role("button", name="Delete these 2").click()
    confirm(page, "Delete these 2 groups?", '{job="report",part="one"}', 'part="two"')
    expect(page.get_by_text("No group matches.")).to_be_visible()
    page.goto(gateway.url)
    expect(page.locator(ROWS)).to_have_count(1)


@with_scripts
def test_everything_is_deleted(page, gateway):
    gateway.push("backup")
    page.goto(gateway.url)
    page.get_by_role("button", name="Delete all 1").click()
    confirm(page, "Delete all 1?", "This cannot be undone.")
    expect(page.get_by_text("Nothing has been pushed yet.")).to_be_visible()


@with_scripts
def test_a_group_is_deleted_on_its_page_beside_its_name(page, gateway):
    gateway.push("backup", "".join(f"m{n} 1\n" for n in range(100)))
    page.goto(gateway.url)
    page.get_by_role("link", name="backup", exact=True).last.click()
    button = page.get_by_role("button", name="Delete group")
    expect(button).to_be_in_viewport()
    button.click()
    confirm(page, '{job="backup"}')
    expect(page.get_by_text("Nothing has been pushed yet.")).to_be_visible()
    assert page.url == gateway.url


@with_scripts
def test_a_deletion_that_fails_says_why(page, gateway):
    gateway.push("backup")
    page.goto(gateway.url + group_path("backup"))
    page.evaluate("window.fetch = async () => new Response('disk full', {status: 503})")
    page.get_by_role("button", name="Delete group").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_have_text("Not deleted: 503 disk full")
    expect(page.get_by_role("dialog")).to_contain_text('{job="backup"}')


@only(ON_DESKTOP)
def test_a_deletion_that_fails_behind_a_closed_dialog_does_not_leave_the_page(page, gateway):
    gateway.push("backup")
    page.goto(gateway.url + group_path("backup"))
    page.evaluate(
        """() => {
            window.fetch = () => new Promise((answer) => {
                window.goOn = () => answer(new Response('disk full', {status: 503}));
            });
        }"""
    )
    page.get_by_role("button", name="Delete group").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.keyboard.press("Escape")
    page.evaluate("window.goOn()")
    page.wait_for_timeout(200)
    expect(page.locator("#said")).to_have_text("Not deleted: 503 disk full")


@only(ON_DESKTOP)
def test_a_list_that_comes_late_changes_no_other_question(page, gateway):
    for job in ("backup", "report", "reports"):
        gateway.push(job)
    page.goto(f"{gateway.url}?q=report")
    page.evaluate(
        """() => {
            const {fetch} = window;
            window.fetch = (...request) => new Promise((answer) => {
                window.goOn = async () => answer(await fetch(...request));
            });
        }"""
    )
    page.get_by_role("button", name="Delete these 2").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete these groups?")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Actions for reports").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(dialog).to_contain_text('{job="reports"}')
    page.evaluate("window.goOn()")
    page.wait_for_timeout(200)
    expect(dialog).to_contain_text("Delete this group?")
    expect(dialog).not_to_contain_text('{job="report"}')


@only(WITHOUT_SCRIPTS)
def test_without_scripts_nothing_is_offered_that_needs_them(page, gateway):
    gateway.push("backup")
    for path in ("", group_path("backup"), "status", "rules", "help"):
        page.goto(gateway.url + path)
        expect(page.locator("h1")).to_be_attached()
        assert page.locator("button:visible:not(.unseen)").count() == 0, path


@with_scripts
def test_credentials_in_the_url_break_nothing(page, gateway):
    gateway.push("backup")
    page.goto(gateway.url.replace("//", "//user:secret@") + group_path("backup"))
    page.get_by_role("button", name="Delete group").click()
    confirm(page)
    expect(page.get_by_text("Nothing has been pushed yet.")).to_be_visible()


# --- A group ------------------------------------------------------------------------------------


def test_every_kind_of_family_is_drawn(page, company):
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


@with_scripts
def test_what_is_copied_is_what_it_says(page, company):

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


@with_scripts
def test_what_was_opened_stays_open(page, company):
    page.goto(company + BACKUP)
    # A browser says that something was opened a moment after it was.
    told = "details => opened = new Promise(done => details.addEventListener('toggle', done))"
    page.locator("details").first.evaluate(f"details => {{ ({told})(details) }}")
    page.locator("summary").first.click()
    page.evaluate("opened")
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


def test_a_page_follows_the_gateway_and_keeps_what_its_reader_does(live, gateway):
    gateway.push("first")
    live.goto(gateway.url)
    live.evaluate("kept = document.querySelector('tr[data-selector] a'); kept.focus()")
    live.get_by_label("Search").evaluate("field => field.value = 'half a wo'")
    gateway.push("another")
    refreshed(live, lambda: live.locator(ROWS).count() == 2)
    assert live.evaluate("document.activeElement === kept && kept.isConnected")
    expect(live.get_by_label("Search")).to_have_value("half a wo")


@pytest.mark.parametrize("live", [ON_DESKTOP], ids=["desktop"], indirect=True)
def test_a_menu_that_opens_while_the_gateway_answers_stays_as_it_is(live, gateway):
    gateway.push("first")
    live.goto(gateway.url)
    live.evaluate("""document.title = 'before'; asks = fetch; asked = new Promise(was => fetch =
        async (...what) => { was(); await new Promise(may => go = may); return asks(...what) })""")
    live.clock.run_for(6_000)
    live.evaluate("asked")
    live.get_by_role("button", name="Actions for first").click()
    live.evaluate("go()")
    expect(live).to_have_title("Groups · Pushgate")
    live.get_by_role("menuitem", name="Open").click()
    expect(live).to_have_title("first · Pushgate")


def test_the_focus_goes_along_with_a_row_that_moves_up(live, gateway):
    for job in ("first", "second", "first"):
        gateway.push(job)
    live.goto(f"{gateway.url}?sort=-pushed")
    link = live.locator(ROWS).get_by_role("link", name="second")
    link.focus()
    gateway.push("second")
    refreshed(live, lambda: "second" in live.locator(ROWS).first.inner_text())
    expect(link).to_be_focused()


def test_the_ages_on_a_page_count_on(live, gateway):
    gateway.push("first")
    live.goto(gateway.url)
    live.get_by_role("button", name="pause").click()
    live.clock.run_for(125_000)
    expect(live.locator(f"{ROWS} time")).to_have_text("2 min ago")


def test_a_page_is_paused_and_goes_on(live, gateway):
    gateway.push("first")
    live.goto(gateway.url)
    live.get_by_role("button", name="pause").click()
    expect(live.locator("#bar")).to_have_text(re.compile("Paused. This is how it was at "))
    gateway.push("another")
    live.clock.run_for(20_000)
    expect(live.locator(ROWS)).to_have_count(1)
    live.get_by_role("button", name="resume").click()
    refreshed(live, lambda: live.locator(ROWS).count() == 2)
    expect(live.locator("#bar")).to_be_empty()


def test_a_page_follows_the_gateway_where_nothing_may_be_stored(browser, gateway):
    with closing(Tab(browser)) as own, own.read_by(ON_DESKTOP) as page:
        forbidden = "{ get() { throw new DOMException('', 'SecurityError') } }"
        page.add_init_script(f"Object.defineProperty(window, 'sessionStorage', {forbidden})")
        page.clock.install()
        page.goto(gateway.url)
        gateway.push("first")
        refreshed(page, lambda: page.locator(ROWS).count() == 1)


def test_a_tab_in_the_background_asks_nothing(live, gateway):
    live.goto(gateway.url)
    live.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away})")
    live.evaluate("window.away = true")
    asked: list[str] = []
    live.on("request", lambda request: asked.append(request.url))
    live.clock.run_for(60_000)
    assert asked == []
    gateway.push("first")
    live.evaluate("away = false; document.dispatchEvent(new Event('visibilitychange'))")
    refreshed(live, lambda: live.locator(ROWS).count() == 1)


def test_a_page_says_when_the_gateway_is_gone_and_when_it_is_back(live, gateway):
    gateway.push("first")
    live.goto(gateway.url)
    live.evaluate("() => { asks = fetch; fetch = async () => { throw new TypeError() } }")
    live.clock.run_for(6_000)
    expect(live.get_by_role("status").first).to_have_text(
        re.compile(r"The gateway does not answer. This is how it was at [\d:]+; trying again")
    )
    live.evaluate("() => { fetch = asks }")
    live.clock.run_for(6_000)
    expect(live.locator("#bar")).to_have_text("The gateway answers again.")
    live.clock.run_for(5_000)
    expect(live.locator("#bar")).to_be_empty()


def test_a_page_says_when_the_gateway_hangs(live, gateway):
    live.goto(gateway.url)
    live.evaluate("""() => { fetch = (_, { signal }) => new Promise((_, fail) =>
        signal?.addEventListener('abort', fail)) }""")
    live.clock.run_for(40_000)
    expect(live.locator("#bar")).to_have_text(re.compile("The gateway does not answer"))


def test_nothing_is_sent_again_while_nothing_changes(live, gateway):
    live.goto(gateway.url)
    statuses: list[int] = []
    live.on("response", lambda response: statuses.append(response.status))
    refreshed(live, lambda: 304 in statuses)
    expect(live.locator("#live-text")).to_have_text(re.compile("live"))


# --- Every page ---------------------------------------------------------------------------------


AXE = """([part, rules]) => axe.run(part || document, {
        resultTypes: ['violations'], preload: false, ...(rules && {runOnly: rules}),
    }).then(found => found.violations.map(one => `${one.id}: ${one.nodes[0].html}`))"""
DEPENDS_ON_COLORS = ["color-contrast"]


def faults(page: Page, *readers: Reader, part: str = "") -> list[str]:
    """What axe-core finds for *readers*, also in the dark, and for whom the page is too wide.

    With the selector *part*, it looks at that alone.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(services.built("axe/node_modules/axe-core/axe.min.js").read_text())
    found: list[str] = []
    for reader in readers:
        reader.looks_at(page)
        found += page.evaluate(AXE, [part, None])
        reader.in_the_dark.looks_at(page)
        found += page.evaluate(AXE, [part, DEPENDS_ON_COLORS])
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"wider than the window, {reader.name}")
    return found


PAGES = {
    "groups": "",
    "nothing found": "?q=nothing",
    "broken selector": "?q=%7B",
    "group": BACKUP,
    "status": "status",
    "rules": "rules",
    "help": "help",
    "no such page": "nope/nowhere",
    "no such group": group_path("gone"),
}


@pytest.fixture
def any_page(tab) -> Iterator[Page]:
    """A page for whoever looks at it; some of them are not found."""
    with tab.read_by(ON_DESKTOP, may_log="404 (Not Found)") as page:
        yield page
    tab.forget()


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_every_page_is_accessible(any_page, company, path):
    any_page.goto(company + path)
    for summary in any_page.locator("summary").all():
        summary.click()
    assert faults(any_page, *WITH_SCRIPTS) == []


@only(ON_DESKTOP)
@pytest.mark.parametrize("column", ["State", "Last push", "Series"])
def test_a_click_on_the_head_of_a_column_sorts_by_it(page, company, column):
    page.goto(company)
    page.get_by_role("columnheader", name=column).get_by_role("link").click()
    head = page.get_by_role("columnheader", name=column)
    expect(head).to_have_attribute("aria-sort", "ascending")


@only(ON_DESKTOP)
def test_the_list_fits_into_a_window_of_any_width(page, gateway):
    gateway.push("nightly_" * 10, region="eu", instance="db-1")
    page.goto(gateway.url)
    for width in range(320, 1281, 32):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.locator("td.c-labels").bounding_box()["width"] > 80, width


def test_every_dialog_menu_and_bar_is_accessible(any_page, company):
    any_page.goto(company)
    any_page.evaluate("document.getElementById('bar').textContent = 'Something is wrong.'")
    any_page.evaluate("document.getElementById('bar').className = 'broken'")
    assert faults(any_page, *WITH_SCRIPTS, part="#bar") == []
    ON_DESKTOP.looks_at(any_page)
    any_page.get_by_role("button", name="Actions").first.click()
    assert faults(any_page, ON_DESKTOP, part="#menu") == []
    any_page.keyboard.press("Escape")
    for path, button in ((BACKUP, "Delete group"), ("?q=etl_orders", "Delete these 4")):
        any_page.goto(company + path)
        any_page.get_by_role("button", name=button).click()
        dialog = any_page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Delete")).to_be_enabled()
        assert faults(any_page, *WITH_SCRIPTS, part="#confirm") == []


def test_hostile_values_are_text_that_stays_in_its_place(page, gateway, reader):
    help_ = HOSTILE["html"]
    quoted = HOSTILE["html"].replace("\\", r"\\").replace('"', r"\"")
    for name, value in HOSTILE.items():
        gateway.push(value, f'# HELP m {help_}\n# TYPE m gauge\nm{{x="{quoted}"}} 1\n', of=name)
    gateway.push("last", "other 1\n", **HOSTILE)
    page.goto(gateway.url)
    expect(page.locator(ROWS)).to_have_count(5)
    tallest = max(row.bounding_box()["height"] for row in page.locator(ROWS).all())
    assert tallest < 200
    expect(page.get_by_role("link", name=HOSTILE["html"][:20]).last).to_be_visible()
    for job, of in ((HOSTILE[name], name) for name in HOSTILE):
        page.goto(gateway.url + group_path(job, of=of))
        expect(page.locator("h1 bdi")).to_have_text(job, use_inner_text=False)
        expect(page.locator(".family p", has_text=help_[:30]).first).to_be_visible()
        assert page.locator(".actions").bounding_box()["y"] < 500, of
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), of
    assert page.locator("img").count() == 0
    if reader.has_scripts:
        assert faults(page, reader) == []


@with_scripts
def test_every_snippet_of_the_help_can_be_copied(page, company):
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

"""The documentation as a whole: its links lead somewhere, and every page is in the navigation."""

import re
from pathlib import Path

import pytest

from tests.services import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    found = LINK.findall(CODE.sub("", page.read_text()))
    return [link for link in found if not link.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of *page*, as code hosts and the site make them."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    plain = [re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
        # The site has nothing else.
        assert page.parent.name != "docs" or target.is_relative_to(ROOT / "docs"), link


def test_every_page_is_in_the_navigation_once():
    text = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    named = sorted(re.findall(r"[\w-]+\.md$", text, re.MULTILINE))
    assert named == sorted(page.name for page in PAGES if page.parent.name == "docs")

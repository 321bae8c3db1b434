"""What the release checklist relies on: the licences of all parts, and the form of CHANGELOG.md."""

import re

import pytest
import yaml

from pushgate import __version__
from release import licences
from release.__main__ import unready
from tests import services

CHANGELOG = (services.ROOT / "CHANGELOG.md").read_text()
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_part_of_a_server_has_a_licence_that_was_accepted():
    found = licences.checked(licences.parts())
    names = {part.name for part in found}
    assert {"starlette", "SQLite", "libpq", "openssl"} <= names
    assert {*licences.BUNDLED} <= {licences.canonical(part.package) for part in found}
    assert f"| {found[0].package} | {found[0].name} | {found[0].licence} |" in licences.page(found)


@pytest.mark.parametrize(
    ("licence", "accepted"),
    [
        ("MIT", True),
        ("GPL-2.0-only OR MIT", True),
        ("GPL-2.0-only AND MIT", False),
        ("(MIT OR GPL-2.0-only) AND (Zlib OR MPL-2.0)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("AGPL-3.0-only", False),
    ],
)
def test_of_a_choice_one_side_is_enough(licence, accepted):
    assert licences.is_accepted(licence) is accepted


def test_a_licence_nobody_has_read_is_an_error():
    part = licences.Part("package", "part", "AGPL-3.0-only")
    with pytest.raises(licences.UnknownLicence, match=r"package: part is under AGPL-3.0-only"):
        licences.checked([part])


def test_the_changelog_has_the_form_of_keep_a_changelog():
    versions = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert versions
    assert all(
        each == "[Unreleased]" or re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", each)
        for each in versions
    )
    assert {*re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)} <= KINDS
    assert CHANGELOG.index("## ") < CHANGELOG.index("### ") < CHANGELOG.index("\n- ")


def test_the_chart_is_of_this_version():
    chart = yaml.safe_load((services.ROOT / "deploy/helm/pushgate/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_a_release_needs_a_changelog_and_the_version_of_the_package():
    mistakes = "\n".join(unready("99.0.0"))
    assert f"version.py says {__version__}" in mistakes
    assert "no heading '## [99.0.0] - YYYY-MM-DD'" in mistakes

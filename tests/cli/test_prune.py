"""Old groups are deleted, and never more than was asked for."""

import json
import time

import pytest

from tests.cli.commands import pushgate
from tests.client.rogue import rogue


@pytest.fixture
def filled(ours):
    """A gateway whose group `old` was pushed to two seconds before `new`, and `other` too."""
    for job in ("old", "other"):
        assert pushgate("set", "-a", ours.url, "-j", job, "rows=1").exit_code == 0
    time.sleep(2)
    assert pushgate("set", "-a", ours.url, "-j", "new", "rows=1").exit_code == 0
    yield ours
    pushgate("delete", "-a", ours.url, "--match", '{job=~".+"}')


def jobs(gateway):
    done = pushgate("list", "-a", gateway.url, "--json")
    return {group["labels"]["job"] for group in json.loads(done.stdout)}


def test_groups_that_are_older_are_deleted(filled):
    done = pushgate("prune", "-a", filled.url, "--older-than", "2s")
    assert (done.exit_code, done.stderr) == (0, "pushgate: deleted 2 groups\n")
    assert jobs(filled) == {"new"}


def test_of_the_old_groups_a_selector_chooses(filled):
    done = pushgate("prune", "-a", filled.url, "--older-than", "1ms", "--match", '{job="old"}')
    assert (done.exit_code, done.stderr) == (0, "pushgate: deleted 1 group\n")
    assert jobs(filled) == {"other", "new"}


def test_nothing_is_that_old(filled):
    done = pushgate("prune", "-a", filled.url, "--older-than", "30d")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "pushgate: deleted 0 groups\n"
    assert jobs(filled) == {"old", "other", "new"}


def test_a_dry_run_lists_the_groups_and_deletes_none(filled):
    done = pushgate("prune", "-a", filled.url, "--older-than", "2s", "--dry-run", "--json")
    assert {group["labels"]["job"] for group in json.loads(done.stdout)} == {"old", "other"}
    assert done.stderr == "pushgate: would delete 2 groups\n"
    assert jobs(filled) == {"old", "other", "new"}


@pytest.mark.parametrize("more", [(), ("--match", '{job="a"}'), ("--dry-run",)])
def test_without_an_age_nothing_is_deleted(more):
    with rogue() as server:
        done = pushgate("prune", "-a", server.url, *more)
        assert (done.exit_code, server.seen) == (2, [])
    assert "--older-than is required" in done.stderr

"""Old groups are deleted, and never more than was asked for."""

import json
import time

import pytest

from tests.cli.commands import pushgate
from tests.client.rogue import rogue


def fill(gateway, *names):
    for job in names:
        assert pushgate("set", "-a", gateway.url, "-j", job, "rows=1").exit_code == 0


@pytest.fixture
def filled(ours):
    """A gateway with the groups `old` and `other`."""
    fill(ours, "old", "other")
    yield ours
    pushgate("delete", "-a", ours.url, "--match", '{job=~".+"}')


@pytest.fixture
def aged(filled):
    """A gateway that the group `new` was pushed to two seconds later than the others."""
    time.sleep(2)
    fill(filled, "new")
    return filled


def jobs(gateway):
    done = pushgate("list", "-a", gateway.url, "--json")
    return {group["labels"]["job"] for group in json.loads(done.stdout)}


def test_groups_that_are_older_are_deleted(aged):
    done = pushgate("prune", "-a", aged.url, "--older-than", "2s")
    assert (done.exit_code, done.stderr) == (0, "pushgate: deleted 2 groups\n")
    assert jobs(aged) == {"new"}


def test_of_the_old_groups_a_selector_chooses(filled):
    done = pushgate("prune", "-a", filled.url, "--older-than", "1ms", "--match", '{job="old"}')
    assert (done.exit_code, done.stderr) == (0, "pushgate: deleted 1 group\n")
    assert jobs(filled) == {"other"}


def test_nothing_is_that_old(filled):
    done = pushgate("prune", "-a", filled.url, "--older-than", "30d")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "pushgate: deleted 0 groups\n"
    assert jobs(filled) == {"old", "other"}


def test_a_dry_run_lists_the_groups_and_deletes_none(aged):
    done = pushgate("prune", "-a", aged.url, "--older-than", "2s", "--dry-run", "--json")
    assert {group["labels"]["job"] for group in json.loads(done.stdout)} == {"old", "other"}
    assert done.stderr == "pushgate: would delete 2 groups\n"
    assert jobs(aged) == {"old", "other", "new"}


@pytest.mark.parametrize("more", [(), ("--match", '{job="a"}'), ("--dry-run",)])
def test_without_an_age_nothing_is_deleted(more):
    with rogue() as server:
        done = pushgate("prune", "-a", server.url, *more)
        assert (done.exit_code, server.seen) == (2, [])
    assert "--older-than is required" in done.stderr

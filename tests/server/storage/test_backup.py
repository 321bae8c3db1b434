"""Backups of a database, taken and put back with a real PostgreSQL."""

from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.storage.backup import copy_database, restore_database
from pushgate.server.storage.opening import open_database
from pushgate.server.store.group import Block, new_group
from pushgate.server.store.store import Step
from tests.postgres import Postgres
from tests.server.pushes import key, pushed


def stored(url: str) -> dict[str, bytes]:
    """The numbers of each job in the database."""
    journal, groups = open_database(url)
    journal.close()
    return {group.key.job: group.blocks[0].pushed.numbers for group in groups}


def store(url: str, **bodies: str) -> None:
    """Push one body to each of the jobs."""
    journal, _ = open_database(url)
    journal.begin()
    journal.append(
        [
            Step(None, new_group(key(job), 1).pushed((Block(pushed(body), 1),), 1), job.encode())
            for job, body in bodies.items()
        ]
    )
    journal.close()


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.url_of(postgres.database())


def test_a_backup_of_a_database_has_its_groups_and_idempotency_keys(url, tmp_path):
    store(url, a="m 1\n", b="m 2\n")
    contents = copy_database(url, tmp_path / "backup")
    assert sorted(group.key.job for group in contents.groups) == ["a", "b"]
    assert dict(contents.applied_keys) == {b"a": 1, b"b": 1}


def test_what_is_restored_replaces_what_came_since(url, tmp_path):
    store(url, a="m 1\n")
    copy_database(url, tmp_path / "backup")
    store(url, b="m 2\n")
    restore_database(tmp_path / "backup", url, folder(tmp_path), replace=True)
    assert stored(url) == {"a": b"1"}


def test_a_database_that_holds_groups_is_only_replaced_if_asked_to(url, tmp_path):
    store(url, a="m 1\n")
    copy_database(url, tmp_path / "backup")
    with pytest.raises(StartupError, match="holds groups: give --replace"):
        restore_database(tmp_path / "backup", url, folder(tmp_path), replace=False)
    assert stored(url) == {"a": b"1"}


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "temporary"
    made.mkdir()
    return made

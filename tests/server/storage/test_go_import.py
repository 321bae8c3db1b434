"""What becomes of the groups in a file of the Go server."""

from pathlib import Path

import pytest

from pushgate.errors import DamagedFile
from pushgate.migration import gofile
from pushgate.migration.gofile import GoFile, StoredGroup
from pushgate.server.storage import go_import
from tests.server.pushes import content, key, pushed


def imported(monkeypatch, *groups: StoredGroup):
    monkeypatch.setattr(gofile, "read", lambda _: GoFile(list(groups), ["left out before"]))
    return go_import.read(Path("file"), b"")


def stored(job: str, *pushes: tuple[str, int]) -> StoredGroup:
    return StoredGroup(key(job), tuple((pushed(body), time) for body, time in pushes), 9, 3, 1)


def test_a_group_keeps_its_times_and_its_pushes(monkeypatch):
    found = imported(monkeypatch, stored("a", ("m 1\n", 4), ("n 2\n", 5)))
    (group,) = found.groups
    assert (group.pushed_at, group.failed_at, group.since) == (9, 3, 1)
    assert [block.received for block in group.blocks] == [4, 5]
    assert content(group) == {"m": [b"1"], "n": [b"2"]}
    assert found.left_out == ["left out before"]


def test_of_families_that_contradict_others_each_is_left_out_and_named(monkeypatch):
    found = imported(
        monkeypatch,
        stored("a", ("# TYPE m counter\nm 1\n", 4)),
        stored("b", ("# TYPE m gauge\nm 2\nfine 3\n", 5)),
    )
    assert [content(group) for group in found.groups] == [{"m": [b"1"]}, {"fine": [b"3"]}]
    _, left_out = found.left_out
    assert left_out.startswith('{job="b"}: ')
    assert '"m"' in left_out


def test_what_is_no_file_of_the_go_server_is_damage():
    with pytest.raises(DamagedFile, match=r"file is damaged \(it is neither a journal nor a file"):
        go_import.read(Path("file"), b"something else")

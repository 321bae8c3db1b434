import asyncio
import re

import pytest

from pushgate.errors import StartupError
from pushgate.server.compose import compose, lock_persistence
from pushgate.server.http.push import push_request
from pushgate.server.settings import Settings


def push(settings: Settings, body: bytes) -> int:
    """The status of one push to a server that is started for it."""

    async def answer() -> int:
        context = compose(settings, lock=lock_persistence(settings)).context
        context.gateway.start()
        answered = asyncio.get_running_loop().create_future()
        request = push_request("PUT", b"/metrics/job/j", b"", [])
        push = context.pushes.start(request, None, answered.set_result)
        push.feed(body)
        push.finish()
        status = (await answered).status
        await context.gateway.close()
        return status

    return asyncio.run(answer())


def test_what_was_pushed_is_there_after_a_restart(tmp_path):
    settings = Settings(persistence_file=str(tmp_path / "pushgate.db"))
    assert push(settings, b"m 1\n") == 200
    lock = lock_persistence(settings)
    context = compose(settings, lock=lock).context
    assert [group.key.job for group in context.gateway.store.groups()] == ["j"]
    assert "pushgate_journal_checkpoint_failures_total" in context.telemetry.names()


def test_without_the_right_to_a_file_metrics_are_only_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not compose(Settings()).context.gateway.is_durable
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, 200),
        ({"limit_series_per_push": 1}, 413),
        ({"limit_series": 1}, 429),
        ({"push_disable_consistency_check": True}, 202),
    ],
)
def test_settings_reach_the_part_that_they_are_for(settings, status):
    assert push(Settings(persistence_file="", **settings), b"a 1\nb 2\n") == status


@pytest.mark.parametrize("flag", ["web.config.file", "push.rules-file"])
def test_a_configuration_that_cannot_be_used_is_named(flag, tmp_path):
    file = str(tmp_path / "none.yml")
    settings = Settings(**{re.sub("[.-]", "_", flag): file})
    with pytest.raises(StartupError, match=f"^--{flag}={file}: open {file}: no such file"):
        compose(settings)

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.access.config import Permission
from pushgate.server.access.live import LiveConfig
from tests.server.access.certificates import Pki, hashed
from tests.server.access.tlsclient import Client, client_context, echo_server, talk

pytestmark = pytest.mark.anyio

ALICE = f"basic_auth_users: {{alice: {hashed('wonder')}}}\n"
OPEN = "http_server_config: {http2: true}\n"  # says something, and asks nobody for credentials
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "web.yml"


def started(path: Path, text: str) -> LiveConfig:
    path.write_text(text)
    return LiveConfig(path)


async def complaint(live: LiveConfig, *, at_once: bool = False) -> str:
    """Return the error that a poll reports; empty if the files are in force."""
    assert await live.poll(at_once=at_once)
    return str(live.error or "")


def reread(live: LiveConfig, path: Path, text: str) -> Awaitable[str]:
    """Return why *text* in the file does not come into force at a hangup; empty if it does."""
    path.write_text(text)
    return complaint(live, at_once=True)


async def anonymous(live: LiveConfig) -> bool:
    """Return whether somebody without credentials may push."""
    return await live.access.admit((), None, Permission.PUSH, ["x"]) is None


async def test_without_a_file_there_is_nothing_to_reload():
    live = LiveConfig(None)
    assert live.access.open
    assert live.context is None
    assert not await live.poll()
    assert await complaint(live, at_once=True) == ""


async def test_a_file_that_makes_no_sense_is_refused_at_start(path):
    path.write_text("foo: 1")
    with pytest.raises(StartupError, match="unknown key foo"):
        LiveConfig(path)


async def test_a_change_is_taken_once_it_has_settled(path):
    live = started(path, "")
    assert not await live.poll()
    path.write_text(ALICE)
    assert not await live.poll()
    assert await anonymous(live)
    assert await complaint(live) == ""
    assert not await anonymous(live)
    assert not await live.poll()


async def test_a_change_while_the_file_is_read_at_start_is_not_missed(path):
    live = started(path, "")
    path.write_text(ALICE)  # before the first look at the file's times
    assert [await live.poll(), await live.poll()] == [False, True]


async def test_a_file_that_is_only_touched_changes_nothing(path):
    live = started(path, ALICE)
    before = live.access
    path.write_text(ALICE)
    assert [await live.poll() for _ in range(4)] == [False] * 4
    assert live.access is before


async def test_a_hangup_takes_a_change_at_once(path):
    live = started(path, "")
    assert await reread(live, path, ALICE) == ""
    assert not await anonymous(live)


async def test_what_became_invalid_keeps_the_last_good_and_is_told_once(path):
    live = started(path, ALICE)
    before = live.access
    path.write_text("foo: 1")
    assert [await live.poll() for _ in range(5)] == [False, True, False, False, False]
    assert str(live.error) == "line 1: unknown key foo"
    assert live.access is before
    assert await complaint(live, at_once=True) == "line 1: unknown key foo"
    assert live.failures == 2
    path.write_text(OPEN)
    await live.poll()
    assert await complaint(live) == ""
    assert await anonymous(live)


NOTHING = ["", "\n", "# nobody\n", "---\n", "~", "{}", "basic_auth_users:\n"]


@pytest.mark.parametrize("text", NOTHING)
async def test_a_file_that_became_empty_does_not_open_the_gateway(path, text):
    live = started(path, ALICE)
    assert await reread(live, path, text) == (
        "the file is empty; if this is intended, restart the server"
    )
    assert not await anonymous(live)
    assert await reread(live, path, OPEN) == ""


@pytest.mark.parametrize("section", ["basic_auth_users", "bearer_tokens", "jwt", "permissions"])
@pytest.mark.parametrize("value", ["", "{}", "[]", "~"])
async def test_a_section_that_became_empty_does_not_open_the_gateway(path, section, value):
    live = started(path, ALICE)
    assert await reread(live, path, OPEN + f"{section}: {value}\n")
    assert not await anonymous(live)


async def test_a_limit_or_a_header_does_not_vanish_with_the_content_of_the_file(path):
    live = started(path, "rate_limit: {interval: 1h}\n")
    assert await reread(live, path, "")
    assert live.config.rate_limit


async def test_a_section_that_was_empty_from_the_start_is_no_mistake(path):
    live = started(path, ALICE.replace("basic", "bearer_tokens: []\nbasic"))
    assert await reread(live, path, "bearer_tokens: []\n" + ALICE + OPEN) == ""
    assert not await anonymous(live)


@pytest.mark.parametrize("text", NOTHING)
async def test_a_server_may_start_with_an_empty_file(path, text):
    live = started(path, text)
    assert await anonymous(live)
    assert await reread(live, path, "# still nothing\n") == ""
    assert await reread(live, path, ALICE) == ""
    assert not await anonymous(live)


async def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(path):
    live = started(path, ALICE)
    path.unlink()
    os.mkfifo(path)
    assert await complaint(live, at_once=True) == f"read {path}: not a regular file"
    assert not await anonymous(live)


async def test_the_watch_tells_what_a_hangup_finds(path):
    live = started(path, ALICE)
    told: asyncio.Queue[str] = asyncio.Queue()
    watch = asyncio.create_task(live.watch(lambda: told.put_nowait(str(live.error))))
    path.write_text(OPEN)
    live.request_reload()
    assert await told.get() == "None"
    path.write_text("foo: 1")
    live.request_reload()
    assert "unknown key foo" in await told.get()
    watch.cancel()


async def test_a_file_that_is_gone_keeps_the_last_good(path):
    live = started(path, ALICE)
    path.unlink()
    assert not await live.poll()
    assert await complaint(live) == f"open {path}: no such file or directory"
    assert not await anonymous(live)


async def test_a_file_that_was_missing_is_noticed_when_it_comes(path, tmp_path):
    """It is not among the files of the last good configuration, so nobody watches it."""
    live = started(path, ALICE)
    path.write_text(ALICE + "bearer_tokens: [{name: ci, token_file: token}]\n")
    await live.poll()
    assert "token_file" in await complaint(live)
    (tmp_path / "token").write_text("t0ken")
    assert await complaint(live) == ""
    assert not await live.poll()


async def test_files_that_are_named_are_watched_also_through_links(path, tmp_path):
    """As Kubernetes does it: a secret is a link to a directory, swapped as a whole."""
    for version, token in (("1", "old"), ("2", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(token)
    (tmp_path / "data").symlink_to("1")
    live = started(path, "bearer_tokens: [{name: ci, token_file: data/token}]\n")
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(tmp_path / "data")
    await live.poll()
    assert await complaint(live) == ""
    headers = [(b"authorization", b"Bearer new")]
    assert await live.access.admit(headers, None, Permission.ANY) is None


async def test_tls_stays_on_or_off(path, tmp_path):
    Pki(tmp_path).issue("server", "localhost")
    live = started(path, TLS)
    assert await reread(live, path, ALICE) == "TLS can't be turned on or off without a restart"
    assert await anonymous(live)


async def test_a_rotated_certificate_is_shown_to_new_connections_only(path, tmp_path):
    first, second = Pki(tmp_path), None
    first.issue("server", "localhost")
    trusting_first = client_context(first.ca_file)
    live = started(path, TLS)
    assert live.context is not None
    async with echo_server(live.context) as port:
        with await asyncio.to_thread(Client, port, trusting_first) as early:
            second = Pki(tmp_path)
            pair = second.issue("server", "localhost")
            key = pair.key.read_bytes()
            pair.key.write_bytes(b"half a key")
            await live.poll()
            assert "failed to load X509KeyPair" in await complaint(live)
            assert await asyncio.to_thread(talk, port, trusting_first) == b"hello\n"
            pair.key.write_bytes(key)
            await live.poll()
            assert await complaint(live) == ""
            assert await asyncio.to_thread(early.say, b"still here\n") == b"still here\n"
            trusting_second = client_context(second.ca_file)
            assert await asyncio.to_thread(talk, port, trusting_second) == b"hello\n"

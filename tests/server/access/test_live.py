import asyncio
import os
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


async def complaint(live: LiveConfig, *, at_once: bool = False) -> str:
    """Return the error that a poll reports; empty if the files are in force."""
    assert await live.poll(at_once=at_once)
    return str(live.error or "")


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
    path.write_text("")
    live = LiveConfig(path)
    assert not await live.poll()
    path.write_text(ALICE)
    assert not await live.poll()
    assert await anonymous(live)
    assert await complaint(live) == ""
    assert not await anonymous(live)
    assert not await live.poll()


async def test_a_change_while_the_file_is_read_at_start_is_not_missed(path):
    path.write_text("")
    live = LiveConfig(path)
    path.write_text(ALICE)  # before the first look at the file's times
    assert [await live.poll(), await live.poll()] == [False, True]


async def test_a_file_that_is_only_touched_changes_nothing(path):
    path.write_text(ALICE)
    live = LiveConfig(path)
    before = live.access
    path.write_text(ALICE)
    assert [await live.poll() for _ in range(4)] == [False] * 4
    assert live.access is before


async def test_a_hangup_takes_a_change_at_once(path):
    path.write_text("")
    live = LiveConfig(path)
    path.write_text(ALICE)
    assert await complaint(live, at_once=True) == ""
    assert not await anonymous(live)


async def test_what_became_invalid_keeps_the_last_good_and_is_told_once(path):
    path.write_text(ALICE)
    live = LiveConfig(path)
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
    path.write_text(ALICE)
    live = LiveConfig(path)
    path.write_text(text)
    assert await complaint(live, at_once=True) == (
        "the file is empty; if this is intended, restart the server"
    )
    assert not await anonymous(live)
    path.write_text(OPEN)
    assert await complaint(live, at_once=True) == ""


@pytest.mark.parametrize("section", ["basic_auth_users", "bearer_tokens", "jwt", "permissions"])
@pytest.mark.parametrize("value", ["", "{}", "[]", "~"])
async def test_a_section_that_became_empty_does_not_open_the_gateway(path, section, value):
    path.write_text(ALICE)
    live = LiveConfig(path)
    path.write_text(OPEN + f"{section}: {value}\n")
    assert await complaint(live, at_once=True)
    assert not await anonymous(live)


async def test_a_limit_or_a_header_does_not_vanish_with_the_content_of_the_file(path):
    path.write_text("rate_limit: {interval: 1h}\n")
    live = LiveConfig(path)
    path.write_text("")
    assert await complaint(live, at_once=True)
    assert live.config.rate_limit


async def test_a_section_that_was_empty_from_the_start_is_no_mistake(path):
    path.write_text(ALICE.replace("basic", "bearer_tokens: []\nbasic"))
    live = LiveConfig(path)
    path.write_text("bearer_tokens: []\n" + ALICE + OPEN)
    assert await complaint(live, at_once=True) == ""
    assert not await anonymous(live)


@pytest.mark.parametrize("text", NOTHING)
async def test_a_server_may_start_with_an_empty_file(path, text):
    path.write_text(text)
    live = LiveConfig(path)
    assert await anonymous(live)
    path.write_text("# still nothing\n")
    assert await complaint(live, at_once=True) == ""
    path.write_text(ALICE)
    assert await complaint(live, at_once=True) == ""
    assert not await anonymous(live)


async def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(path):
    path.write_text(ALICE)
    live = LiveConfig(path)
    path.unlink()
    os.mkfifo(path)
    assert await complaint(live, at_once=True) == f"read {path}: not a regular file"
    assert not await anonymous(live)


async def test_the_watch_tells_what_a_hangup_finds(path):
    path.write_text(ALICE)
    live = LiveConfig(path)
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
    path.write_text(ALICE)
    live = LiveConfig(path)
    path.unlink()
    assert not await live.poll()
    assert await complaint(live) == f"open {path}: no such file or directory"
    assert not await anonymous(live)


async def test_a_file_that_was_missing_is_noticed_when_it_comes(path, tmp_path):
    """It is not among the files of the last good configuration, so nobody watches it."""
    path.write_text(ALICE)
    live = LiveConfig(path)
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
    path.write_text("bearer_tokens: [{name: ci, token_file: data/token}]\n")
    live = LiveConfig(path)
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(tmp_path / "data")
    await live.poll()
    assert await complaint(live) == ""
    headers = [(b"authorization", b"Bearer new")]
    assert await live.access.admit(headers, None, Permission.ANY) is None


async def test_tls_stays_on_or_off(path, tmp_path):
    Pki(tmp_path).issue("server", "localhost")
    path.write_text(TLS)
    live = LiveConfig(path)
    path.write_text(ALICE)
    assert await complaint(live, at_once=True) == "TLS can't be turned on or off without a restart"
    assert await anonymous(live)


async def test_a_rotated_certificate_is_shown_to_new_connections_only(path, tmp_path):
    first, second = Pki(tmp_path), None
    first.issue("server", "localhost")
    trusting_first = client_context(first.ca_file)
    path.write_text(TLS)
    live = LiveConfig(path)
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

import asyncio
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.auth import Refusal
from pushgate.server.reload import LiveConfig, Reloaded
from pushgate.server.webconfig import Permission
from tests.server.certificates import Pki, hashed
from tests.server.tlsclient import Client, client_context, echo_server, talk

pytestmark = pytest.mark.anyio

ALICE = f"basic_auth_users: {{alice: {hashed('wonder')}}}\n"
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "web.yml"


def complaint(outcome: Reloaded | None) -> str | None:
    assert outcome is not None
    return outcome.error and str(outcome.error)


def anonymous(live: LiveConfig) -> bool:
    """Return whether somebody without credentials may push."""
    return not isinstance(live.access.admit_now((), None, Permission.PUSH, "x"), Refusal)


def test_without_a_file_there_is_nothing_to_reload():
    live = LiveConfig(None)
    assert live.access.open
    assert live.context is None
    assert live.poll() is None
    assert live.reload() == Reloaded()


def test_a_file_that_makes_no_sense_is_refused_at_start(path):
    path.write_text("foo: 1")
    with pytest.raises(StartupError, match="field foo not found"):
        LiveConfig(path)


def test_a_change_is_taken_once_it_has_settled(path):
    path.write_text("")
    live = LiveConfig(path)
    assert live.poll() is None
    path.write_text(ALICE)
    assert live.poll() is None
    assert anonymous(live)
    assert live.poll() == Reloaded()
    assert not anonymous(live)
    assert live.poll() is None


def test_a_change_while_the_file_is_read_at_start_is_not_missed(path):
    path.write_text("")
    live = LiveConfig(path)
    path.write_text(ALICE)  # before the first look at the file's times
    assert [live.poll(), live.poll()] == [None, Reloaded()]


def test_a_file_that_is_only_touched_changes_nothing(path):
    path.write_text(ALICE)
    live = LiveConfig(path)
    before = live.access
    path.write_text(ALICE)
    assert [live.poll() for _ in range(4)] == [None] * 4
    assert live.access is before


def test_a_hangup_takes_a_change_at_once(path):
    path.write_text("")
    live = LiveConfig(path)
    path.write_text(ALICE)
    assert live.reload() == Reloaded()
    assert not anonymous(live)


def test_what_became_invalid_keeps_the_last_good_and_is_told_once(path):
    path.write_text(ALICE)
    live = LiveConfig(path)
    before = live.access
    path.write_text("foo: 1")
    outcomes = [live.poll() for _ in range(5)]
    told = [outcome for outcome in outcomes if outcome]
    assert [complaint(outcome) for outcome in told] == [
        "yaml: unmarshal errors:\n  line 1: field foo not found in type web.Config"
    ]
    assert live.access is before
    assert complaint(live.reload()) == complaint(told[0])
    path.write_text("")
    live.poll()
    assert live.poll() == Reloaded()
    assert anonymous(live)


def test_a_file_that_is_gone_keeps_the_last_good(path):
    path.write_text(ALICE)
    live = LiveConfig(path)
    path.unlink()
    assert live.poll() is None
    assert complaint(live.poll()) == f"open {path}: no such file or directory"
    assert not anonymous(live)


def test_a_file_that_was_missing_is_noticed_when_it_comes(path, tmp_path):
    """It is not among the files of the last good configuration, so nobody watches it."""
    path.write_text(ALICE)
    live = LiveConfig(path)
    path.write_text(ALICE + "bearer_tokens: [{name: ci, token_file: token}]\n")
    live.poll()
    assert "token_file" in (complaint(live.poll()) or "")
    (tmp_path / "token").write_text("t0ken")
    assert live.poll() == Reloaded()
    assert live.poll() is None


def test_files_that_are_named_are_watched_also_through_links(path, tmp_path):
    """As Kubernetes does it: a secret is a link to a directory, swapped as a whole."""
    for version, token in (("1", "old"), ("2", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(token)
    (tmp_path / "data").symlink_to("1")
    path.write_text("bearer_tokens: [{name: ci, token_file: data/token}]\n")
    live = LiveConfig(path)
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(tmp_path / "data")
    live.poll()
    assert live.poll() == Reloaded()
    headers = [(b"authorization", b"Bearer new")]
    assert asyncio.run(live.access.admit(headers, None, Permission.ANY)) is None


def test_tls_stays_on_or_off(path, tmp_path):
    Pki(tmp_path).issue("server", "localhost")
    path.write_text(TLS)
    live = LiveConfig(path)
    path.write_text(ALICE)
    assert complaint(live.reload()) == "TLS can't be turned on or off without a restart"
    assert anonymous(live)


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
            live.poll()
            assert "failed to load X509KeyPair" in (complaint(live.poll()) or "")
            assert await asyncio.to_thread(talk, port, trusting_first) == b"hello\n"
            pair.key.write_bytes(key)
            live.poll()
            assert live.poll() == Reloaded()
            assert await asyncio.to_thread(early.say, b"still here\n") == b"still here\n"
            trusting_second = client_context(second.ca_file)
            assert await asyncio.to_thread(talk, port, trusting_second) == b"hello\n"

"""Groups of a real Go Pushgateway arrive in a real Pushgate."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from tests import old_gateway, services
from tests.cli.commands import pushgate
from tests.client.rogue import closed_port
from tests.exchange import ask
from tests.server.access.certificates import hashed
from tests.waiting import until

EMPTY = '{"status":"success","data":[]}'
PUSH_TIMES = (
    "not copied: push times, which are those of the import; the file of the old gateway "
    "(--persistence.file) has them, see docs/migration.md"
)


ADMIN = "--web.enable-admin-api"


@pytest.fixture(scope="module")
def go_gateway():
    with services.go_pushgateway(ADMIN) as service:
        yield service


@pytest.fixture(scope="module")
def two_of_ours():
    with services.pushgate(ADMIN) as one, services.pushgate(ADMIN) as other:
        yield one, other


@pytest.fixture
def old(go_gateway):
    """A Go Pushgateway without groups."""
    return emptied(go_gateway)


@pytest.fixture
def new(two_of_ours):
    """A Pushgate without groups."""
    return emptied(two_of_ours[0])


@pytest.fixture
def other(two_of_ours):
    """Another Pushgate without groups."""
    return emptied(two_of_ours[1])


def emptied(server: services.Service) -> services.Service:
    assert ask(server.port, "PUT", "/api/v1/admin/wipe").status == 202
    until(lambda: server.get("/api/v1/metrics") == EMPTY, reason="the wipe had no effect")
    return server


def imported(source: services.Service, target: services.Service, *flags: str):
    return pushgate("import", source.url, "--to", target.url, "--retries=0", "--timeout=2m", *flags)


def pushed(target: services.Service) -> list[str]:
    return [line for line in target.get("/metrics").split("\n") if line.startswith("m")]


def test_everything_but_the_push_times_arrives(old, new):
    old_gateway.fill(old)
    done = imported(old, new)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "copied 5 groups, 25 metrics",
        'not copied {job="bad"}: all pushes to it have failed',
        'not copied: that the last push to {job="batch"} failed',
        PUSH_TIMES,
    ]
    assert old_gateway.messages_of(new) == old_gateway.messages_of(old)
    arrived, expected = (
        [line for line in old_gateway.lines_of(server, times=False) if line[:5] != "push_"]
        for server in (new, old)
    )
    assert arrived == expected
    assert len(expected) > 60


def test_a_dry_run_says_what_would_be_copied_and_pushes_nothing(old, new):
    old_gateway.fill(old)
    done = imported(old, new, "--dry-run")
    assert done.output.startswith("would copy 5 groups, 25 metrics\n")
    assert new.get("/api/v1/metrics") == EMPTY


def test_what_the_new_gateway_has_is_newer_and_stays_unless_replaced(old, new):
    for server, body in ((old, b"m 1\n"), (new, b"m 2\n")):
        assert ask(server.port, "PUT", "/metrics/job/j", body).status == 200
    done = imported(old, new)
    assert "kept 1 group of the new gateway" in done.output
    assert pushed(new) == ['m{instance="",job="j"} 2']
    done = imported(old, new, "--replace")
    assert done.output.startswith("copied 1 group, 1 metric\n")
    assert pushed(new) == ['m{instance="",job="j"} 1']


def test_a_gateway_whose_scrapes_fail_is_imported_from_its_file(new):
    """Metrics that contradict each other get into a Go server that does not check them."""
    with services.go_pushgateway("--push.disable-consistency-check") as old:
        assert ask(old.port, "PUT", "/metrics/job/a", b"m 1\nm 1\n").status == 202
        until(lambda: "last_push_successful" in old.get("/api/v1/metrics"))
        done = imported(old, new)
        assert done.exit_code == 4
        assert "500" in done.stderr
        assert "import the file of the old gateway" in done.stderr


def test_a_group_that_is_refused_is_named_and_the_others_arrive(other, new):
    for server, job, body in (
        (new, "first", b"# TYPE m counter\nm 1\n"),
        (other, "a", b"# TYPE m gauge\nm 2\n"),
        (other, "b", b"n 3\n"),
    ):
        assert ask(server.port, "PUT", f"/metrics/job/{job}", body).status == 200
    done = imported(other, new)
    assert done.exit_code == 3
    first, refused, *_ = done.output.splitlines()
    assert first == "copied 1 group, 1 metric"
    assert refused.startswith('refused {job="a"}: pushed metrics are invalid or inconsistent')
    assert 'n{instance="",job="b"} 3' in new.get("/metrics")


@pytest.mark.parametrize("is_source_there", [True, False])
def test_a_gateway_that_is_not_there_is_named(other, is_source_there):
    gone = f"http://127.0.0.1:{closed_port()}"
    source, target = (other.url, gone) if is_source_there else (gone, other.url)
    done = pushgate("import", source, "--to", target, "--retries=0")
    assert done.exit_code == 4
    assert f"on {gone}: Connection refused" in done.stderr


def test_credentials_in_the_addresses_are_used(tmp_path, new):
    config = tmp_path / "web.yml"
    config.write_text("")
    with services.pushgate(f"--web.config.file={config}") as old:
        ask(old.port, "PUT", "/metrics/job/j", b"m 1\n")
        config.write_text(f"basic_auth_users: {{user: {hashed('secret')}}}\n")
        old.process.send_signal(signal.SIGHUP)
        until(lambda: ask(old.port, "GET", "/-/ready").status == 401)
        assert imported(old, new).exit_code == 5
        with_password = old.url.replace("://", "://user:secret@")
        done = pushgate("import", with_password, "--to", new.url)
        assert done.exit_code == 0
        assert "secret" not in done.output
        assert pushed(new) == ['m{instance="",job="j"} 1']


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["h:x"], "Expecting <host>:<port>\npushgate: The value comes from SOURCE."),
        (["h:1", "--to", "h:x"], "Expecting <host>:<port>\npushgate: The value comes from --to."),
        (["h:1", "--source-bearer-token-file", "gone"], "token file gone cannot be read: No such"),
        (["https://h:1", "--ca-file", "gone"], "TLS cannot be set up: No such file"),
    ],
)
def test_a_wrong_argument_is_not_blamed_on_the_gateway(arguments, message):
    done = pushgate("import", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_terminal_shows_progress(other, new):
    for number in range(3):
        ask(other.port, "PUT", f"/metrics/job/{number}", b"m 1\n")
    terminal, end = pty.openpty()
    command = [services.PUSHGATE, "import", other.url, "--to", new.url]
    try:
        subprocess.run(command, stderr=end, stdout=subprocess.DEVNULL, check=True)
    finally:
        os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "Copying 3 groups" in shown
    assert "100%" in shown


def test_without_protobuf_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    done = pushgate("import", "old:9091")
    assert done.exit_code == 1
    assert "pip install '.[server]'" in done.stderr

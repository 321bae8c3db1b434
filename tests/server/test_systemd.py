import os
import socket

import pytest

from pushgate.server.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_states_go_to_the_socket_that_systemd_names(tmp_path, abstract):
    address = f"\0pushgate-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(5)
        environment = {"NOTIFY_SOCKET": address.replace("\0", "@"), "WATCHDOG_USEC": "3000000"}
        notifier = Notifier(environment)
        notifier.send("READY=1")
        assert systemd.recv(100) == b"READY=1"
        assert notifier.watchdog_seconds == 1.5
        assert environment == {}
        notifier.close()
    notifier.send("STOPPING=1")


def test_a_watchdog_of_another_process_is_none():
    environment = {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    assert Notifier(environment).watchdog_seconds == 0


def test_without_systemd_nothing_is_sent():
    notifier = Notifier({})
    notifier.send("READY=1")
    notifier.close()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("vsock:2:1234", "only Unix sockets are supported"),
        ("/nonexistent/notify", "No such file"),
        ("/" + "x" * 200, "too long"),
        ("/a\udcff", "No such file"),
    ],
)
def test_an_address_that_cannot_be_reached_is_a_warning(address, reason, caplog):
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"})
    notifier.send("READY=1")

    (record,) = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "cannot notify systemd")
    assert reason in record.err
    assert notifier.watchdog_seconds == 0

import logging

from pushgate.log import before_messages, log_once, warn_once


def test_a_process_sees_a_message_once_however_often_it_pushes(caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    for _ in range(2):
        warn_once("beware of 100 % of these")
        log_once("info", "by the way")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "beware of 100 % of these"),
        ("INFO", "by the way"),
    ]


def test_a_program_of_ours_decides_where_messages_go_before_the_first(monkeypatch):
    monkeypatch.setattr("pushgate.log._preparations", [])
    calls = []
    before_messages(lambda: calls.append("replaced"))
    before_messages(lambda: calls.append("prepared"))
    assert calls == []
    warn_once("a message of this test alone")
    assert calls == ["prepared"]

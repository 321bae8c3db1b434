import logging

from pushgate.client.log import log_once, warn_once


def test_a_process_sees_a_message_once_however_often_it_pushes(caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    for _ in range(2):
        warn_once("beware of 100 % of these")
        log_once(logging.INFO, "by the way")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "beware of 100 % of these"),
        ("INFO", "by the way"),
    ]

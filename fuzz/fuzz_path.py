"""Request targets: every one is answered, and none by accident (500)."""

import asyncio
import sys

import atheris

with atheris.instrument_imports(include=["pushgate"]):
    from pushgate.errors import InvalidGroupingKey
    from pushgate.server.http.push_path import grouping_key, push_path
    from pushgate.server.settings import Settings
    from tests.server.http.asgi import Served

SETTINGS = [
    Settings(push_enable_utf8_names=utf8, web_route_prefix=prefix)
    for utf8 in (False, True)
    for prefix in ("", "/a/b")
]
SITES = [Served(settings) for settings in SETTINGS]
METHODS = ("PUT", "GET", "DELETE", "HEAD", "POST", "OPTIONS", "PATCH", "CONNECT")
LOOP = asyncio.new_event_loop()


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    settings, site = SETTINGS[data[0] % 4], SITES[data[0] % 4]
    method, target = METHODS[data[1] % 8], data[2:]
    if method == "OPTIONS" and target == b"*":
        return
    path = target.partition(b"?")[0]
    if push_path(settings.route_prefix)(path):
        check_key(path, settings)
    answer = LOOP.run_until_complete(
        site.asked(method, target.decode("utf-8", "surrogateescape"), b"m 1\n")
    )
    assert answer.status < 500
    assert "location" not in answer.headers
    if len(site.store) > 100:
        SITES[data[0] % 4] = Served(settings)


def check_key(path: bytes, settings: Settings) -> None:
    try:
        key = grouping_key(path, settings)
    except InvalidGroupingKey as error:
        assert str(error)
        return
    assert key.job
    assert key.packed.decode("utf-8", "surrogateescape")
    assert len(set(key.names)) == len(key.names)
    assert key.packed.count(b"\xff") == 2 * len(key.names) - 1  # labels cannot be confused


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()

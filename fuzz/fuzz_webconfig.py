"""Web configurations: whatever the file says, a configuration or a clear error comes out."""

import asyncio
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pushgate"]):
    from pushgate.errors import StartupError
    from pushgate.server.access.auth import Access
    from pushgate.server.access.config import Permission
    from pushgate.server.access.config_file import parse
    from pushgate.server.access.tls import caveats, server_context

EMPTY = Path(tempfile.mkdtemp(prefix="pushgate-fuzz-"))
LOOP = asyncio.new_event_loop()
HEADERS = ([], [(b"authorization", b"Basic YTpi")], [(b"authorization", b"Bearer a.b.c")])


def check(data: bytes) -> None:
    if b"/dev" in data or b"/proc" in data:
        return  # files that never end
    try:
        config = parse(data, base=EMPTY)
        access = Access(config)
        access.store.check_password = lambda *_: False  # it may ask for hours of bcrypt
        if config.tls:
            server_context(config.tls)
            list(caveats(config.tls))
    except StartupError as error:
        assert str(error)
        return
    assert not any(hashed in repr(config) for hashed in config.users.values())
    for headers in HEADERS:
        LOOP.run_until_complete(access.admit(headers, {}, Permission.PUSH, ["job"]))


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()

"""Time zones, which C libraries and so Python read from the environment of the process."""

import time
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the local time zone for the rest of a test."""
    with monkeypatch.context() as patched:

        def set_zone(name: str) -> None:
            patched.setenv("TZ", name)
            time.tzset()

        yield set_zone
    time.tzset()

"""The targets of coverage-guided fuzzing take inputs; atheris itself is not needed for that."""

import sys
from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace

import pytest


@pytest.fixture
def target(monkeypatch):
    """Import a target as if atheris were installed."""
    atheris = SimpleNamespace(instrument_imports=lambda **_: nullcontext())
    monkeypatch.setitem(sys.modules, "atheris", atheris)
    return lambda name: import_module(f"fuzz.{name}")


INPUTS = {
    "fuzz_text": [
        b"\x00m 1\n",
        b'\xffm{l="a"} 1\n# TYPE h histogram\nh_count 1\n',
        b"\x00m 1 2 3\n",
    ],
    "fuzz_protobuf": [b"\x05\x0a\x01m\x18\x03", b"\x00", b"\xff" * 20],
    "fuzz_path": [
        bytes([at, at]) + path
        for at in range(8)
        for path in (
            b"/metrics/job/a/b/c",
            b"/a/b/metrics/job@base64/YQ",
            b"/metrics/job/",
            b"/%zz",
        )
    ],
    "fuzz_webconfig": [
        b"basic_auth_users: {a: $2b$04$ej33RkvCH7Ok2ao5J8UNvOzZ6VKAPnhKfGe3p0iqAJKvS2kJJC/Se}",
        b"bearer_token_users: {}",
        b"}{",
        b"",
    ],
}


@pytest.mark.parametrize(
    ("name", "data"), [(n, data) for n, many in INPUTS.items() for data in many]
)
def test_a_target_finds_nothing_wrong_with_ordinary_inputs(target, name, data):
    assert target(name).check(data) is None

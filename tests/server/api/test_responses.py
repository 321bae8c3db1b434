import json

import pytest
from hypothesis import given, strategies as st

from pushgate.model.quoting import text
from pushgate.server.api.responses import encoded
from tests.server.http.asgi import Served

CORS = {
    "access-control-allow-headers": "Accept, Authorization, Content-Type, Origin",
    "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Date",
    "cache-control": "no-cache, no-store, must-revalidate",
}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("<a&b>", rb'"\u003ca\u0026b\u003e"'),
        ("\u2028\u2029", rb'"\u2028\u2029"'),
        ('\x00\x1f\b\f\n\r\t"\\/\x7f', rb'"\u0000\u001f\b\f\n\r\t\"\\/' + b'\x7f"'),
        ("é中😊", '"é中😊"'.encode()),
        ("a\udcff<", rb'"a\ufffd\u003c"'),
    ],
)
def test_writes_strings_as_go_does(value, written):
    assert encoded(value) == written


@given(st.binary())
def test_any_bytes_are_shown_as_json(value):
    expected = "".join(c if not "\ud800" <= c <= "\udfff" else "\ufffd" for c in text(value))
    assert json.loads(encoded({"a": text(value)})) == {"a": expected}


@pytest.mark.parametrize("name", ["status", "metrics", "nope", "status/", ""])
def test_pages_of_other_origins_may_read(name):
    answer = Served().ask("OPTIONS", "/api/v1/" + name)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers == {**CORS, "content-length": "0"}

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pushgate.properties import parse

VECTORS = json.loads((Path(__file__).parent.parent / "data/client_java_vectors.json").read_text())
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("vector", VECTORS["grammar"], ids=lambda v: v["hex"][:16])
def test_files_are_read_as_java_reads_them(vector):
    data = bytes.fromhex(vector["hex"])
    if vector["error"]:
        with pytest.raises(ValueError, match="Malformed"):
            parse(data)
    elif data.startswith(BOM):
        assert parse(data) == {"a": "1"}  # Java makes the mark a part of the key
    else:
        assert parse(data) == vector["result"]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a = b", {"a": "b"}),
        ("b : : c", {"b": ": c"}),
        ("d==e", {"d": "=e"}),
        ("=x", {"": "x"}),
        ("a\\=b=c", {"a=b": "c"}),
        ("# c \\\na=1", {"a": "1"}),
        ("! c\r\na=1\rb=2\r\n", {"a": "1", "b": "2"}),
        ("a=1#2", {"a": "1#2"}),
        ("a=\\u00fc\\uD83D\\uDE00", {"a": "ü😀"}),
        ("  \\\n  a=1", {"a": "1"}),
        ("a=1\\", {"a": "1"}),
        ("\\\n# comment", {}),
        ("a=1\\\n# data", {"a": "1# data"}),
        ("a\f=\fb", {"a": "b"}),
        ("", {}),
    ],
)
def test_lines(text, result):
    assert parse(text.encode()) == result


def test_both_encodings_are_read():
    assert parse("a=ü".encode()) == parse("a=ü".encode("latin-1")) == {"a": "ü"}


def escaped(text):
    return "".join(f"\\u{ord(c):04x}" for c in text)


BMP = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))


@given(st.dictionaries(BMP, BMP))
def test_what_is_escaped_comes_back(properties):
    lines = [f"{escaped(key)}={escaped(value)}" for key, value in properties.items()]
    assert parse("\n".join(lines).encode()) == properties


@given(st.binary())
def test_any_bytes_are_read_or_refused(data):
    try:
        parse(data)
    except ValueError as error:
        assert "Malformed" in str(error)  # noqa: PT017

"""Protobuf bodies, in each encoding: three speeds with one result, and an end to every bomb."""

import sys

import atheris

with atheris.instrument_imports(include=["pushgate"]):
    from fuzz.stored import exposed, outcome
    from pushgate.errors import InvalidBody, LimitExceeded
    from pushgate.formats.compression import decompress
    from pushgate.formats.protobuf.reader import ProtobufReader, decode

READER = ProtobufReader(cache_bytes=1 << 16)
CODINGS = ("", "gzip", "zstd", "deflate", "snappy")
MOST = 1 << 20


def check(data: bytes) -> None:
    coding, body = CODINGS[(data[0] if data else 0) % 8 % len(CODINGS)], data[1:]
    try:
        body = decompress(body, coding, limit=MOST)
    except (InvalidBody, LimitExceeded):
        return
    assert len(body) <= MOST
    expected = outcome(decode, body)
    for _ in range(3):  # unknown, known, and where the doubles stand known too
        assert outcome(READER.read, body) == expected
    if not isinstance(expected, str):
        exposed(decode(body))


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()

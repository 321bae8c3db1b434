"""Text: two speeds, the result of the scanner; what is admitted can be exposed and read again."""

import sys

import atheris

with atheris.instrument_imports(include=["pushgate"]):
    from fuzz.stored import exposed, outcome
    from pushgate.errors import InvalidBody
    from pushgate.formats.openmetrics import read_openmetrics
    from pushgate.formats.scanner import scan
    from pushgate.formats.text import TextReader, normalised, scan_leniently
    from pushgate.model.names import NameRule

RULES = (NameRule.LEGACY, NameRule.UTF8)
READERS = {names: TextReader(names, cache_bytes=1 << 16) for names in RULES}


def check(data: bytes) -> None:
    names, body = RULES[data[:1] > b"\x7f"], data[1:]
    expected = outcome(lambda body: scan_leniently(normalised(body, names), names).pushed, body)
    for _ in range(4):  # unknown, of a known structure, known
        assert outcome(READERS[names].read, body) == expected
    try:
        exposed(read_openmetrics(body))
    except InvalidBody as error:
        assert str(error)
    if isinstance(expected, str):
        return
    exposition = exposed(READERS[names].read(body))
    if exposition is not None:
        again = scan(exposition, NameRule.UTF8).pushed
        assert not again.timestamped


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()

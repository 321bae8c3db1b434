"""Text bodies: four speeds with one result, and what is admitted can be exposed and read again."""

import re
import sys

import atheris

with atheris.instrument_imports(include=["pushgate"]):
    from fuzz.stored import content, exposed
    from pushgate.errors import InvalidBody
    from pushgate.formats.openmetrics import OpenMetricsReader
    from pushgate.formats.text import TextReader, normalised, parse
    from pushgate.model.names import NameRule

BLANK = re.compile(rb"[ \t]\n")
RULES = (NameRule.LEGACY, NameRule.UTF8)
READERS = {names: TextReader(names, cache_bytes=1 << 16) for names in RULES}


def outcome(read, body: bytes):
    """What *read* makes of *body*: what it pushes, or the text of its error."""
    try:
        return content(read(body))
    except InvalidBody as error:
        return str(error)


def check(data: bytes) -> None:
    names, body = RULES[data[:1] > b"\x7f"], normalised(data[1:])
    expected = outcome(lambda body: parse(body, names, shortcuts=False).pushed, body)
    for _ in range(2):  # unknown, then known
        found = outcome(READERS[names].read, body)
        # Blanks behind values are read once the body turned out to be wrong without that.
        assert found == expected or (isinstance(expected, str) and BLANK.search(body))
    try:
        exposed(OpenMetricsReader().read(body))
    except InvalidBody as error:
        assert str(error)
    if isinstance(expected, str):
        return
    exposition = exposed(parse(body, names).pushed)
    if exposition is not None:
        again = parse(exposition, NameRule.UTF8, shortcuts=False).pushed
        assert not again.timestamped


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()

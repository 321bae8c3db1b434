"""Text bodies: four speeds with one result, and what is admitted can be exposed and read again."""

import sys

import atheris

with atheris.instrument_imports(include=["pushgate"]):
    from fuzz.stored import content, exposed
    from pushgate.errors import InvalidBody
    from pushgate.formats.openmetrics import OpenMetricsReader
    from pushgate.formats.text import TextReader, parse
    from pushgate.model.names import NameRule

RULES = (NameRule.LEGACY, NameRule.UTF8)
STRICT = {names: TextReader(names, lenient=False, cache_bytes=1 << 16) for names in RULES}
LENIENT = {names: TextReader(names, lenient=True, cache_bytes=1 << 16) for names in RULES}


def outcome(read, body: bytes):
    """What *read* makes of *body*: what it pushes, or the text of its error."""
    try:
        return content(read(body))
    except InvalidBody as error:
        return str(error)


def check(data: bytes) -> None:
    names, body = RULES[data[:1] > b"\x7f"], data[1:]
    expected = outcome(lambda body: parse(body, names, shortcuts=False).pushed, body)
    for reader in (STRICT[names], STRICT[names]):  # unknown, then known
        assert outcome(reader.read, body) == expected
    lenient = outcome(LENIENT[names].read, body)
    assert isinstance(lenient, type(expected)) or isinstance(expected, str)
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

"""The grammar of ``.properties`` files, as ``java.util.Properties.load`` reads them."""

import re
from collections.abc import Iterator

# The patterns are compiled at first use: many programs read no such file.
_BLANKS = " \t\f"
# Java knows no others: \b is a plain b, and so is every other character behind a backslash.
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = r"(?s)\\(u[0-9a-fA-F]{4}|.)"
_LINE_ENDS = r"\r\n|\r|\n"
# Up to the first unescaped separator; then blanks with at most one '=' or ':'.
_ENTRY = r"(?s)((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)"


def parse(data: bytes) -> dict[str, str]:
    r"""Return the properties in *data*; of equal keys the last one counts.

    The bytes are UTF-8 if they can be, else ISO-8859-1; a byte order mark is dropped.

    Raises:
        ValueError: For a malformed ``\uXXXX``.
    """
    return {key: value for key, value, _ in entries(data)}


def entries(data: bytes) -> Iterator[tuple[str, str, int]]:
    """Yield the key, the value and the line (from 1) of each entry in *data*; see :func:`parse`."""
    # Java reads ISO-8859-1, where other scripts are \uXXXX. Editors write UTF-8.
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    for number, line in _logical_lines(text):
        match = re.fullmatch(_ENTRY, line)
        assert match is not None, "every group may be empty"
        yield _unescape(match[1]), _unescape(match[2]), number


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each entry, continued lines joined, comments left out."""
    held, first = "", 0
    # Not splitlines(): it splits at form feeds and U+2028 too, which Java does not.
    for number, natural in enumerate(re.split(_LINE_ENDS, text), 1):
        line = natural.lstrip(_BLANKS)
        # At the start of an entry, or behind a backslash alone in its line. Continued lines may
        # begin with "#" and may be blank.
        if not held:
            if not line or line[0] in "#!":
                continue
            first = number
        line = held + line
        # A backslash continues the line, two of them are an escaped one.
        is_continued = (len(line) - len(line.rstrip("\\"))) % 2
        held = line[:-1] if is_continued else ""
        if not is_continued:
            yield first, line
    if held:
        yield first, held


def _unescape(raw: str) -> str:
    if "\\" not in raw:
        return raw

    def plain(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape == "u":
            raise ValueError("Malformed \\uxxxx encoding.")
        return _ESCAPES.get(escape, escape)

    # Java's \uXXXX are UTF-16: a pair of them may be one character beyond the basic plane.
    return (
        re.sub(_ESCAPE, plain, raw)
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "surrogatepass")
    )

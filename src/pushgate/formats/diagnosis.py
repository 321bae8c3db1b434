"""Guesses what a body is that is not in the text format, and advises what to do about it."""

import re
from typing import Final

from pushgate.errors import TextFormatError

# All patterns look at this much of a body: a format shows in its first bytes.
_START_BYTES = 1024

_COMPRESSED = 'The body is compressed with {0}: send the header "Content-Encoding: {0}" with it.'
_PACKED = "The body is packed with {}: send it unpacked, or compressed with gzip."
_PROTOBUF = (
    'The body is protobuf: send the header "Content-Type: application/vnd.google.protobuf; '
    'proto=io.prometheus.client.MetricFamily; encoding=delimited" with it.'
)
_FORMATS: Final = tuple(
    (re.compile(start, re.DOTALL | re.IGNORECASE).match, advice)
    # Magic numbers of compressed formats: RFC 1952 (gzip), RFC 8878 (zstd), RFC 1950 (deflate).
    for start, advice in (
        # A byte order mark, or a zero byte beside each letter.
        (
            rb"\xff\xfe|\xfe\xff|(?:[^\0]\0){2}|(?:\0[^\0]){2}",
            "The body is UTF-16: send UTF-8. PowerShell writes that with -Encoding utf8.",
        ),
        (rb"\x1f\x8b", _COMPRESSED.format("gzip")),
        (rb"\x28\xb5\x2f\xfd", _COMPRESSED.format("zstd")),
        (rb"\x78[\x01\x5e\x9c\xda]", _COMPRESSED.format("deflate")),
        (rb"\xff\x06\0\0sNaPpY", _COMPRESSED.format("snappy")),
        (rb"BZh[1-9]1AY&SY", _PACKED.format("bzip2")),
        (rb"\xfd7zXZ\0", _PACKED.format("xz")),
        (rb"PK\x03\x04", _PACKED.format("zip")),
        (
            rb"\s*--[^\n]{1,200}\nContent-",
            "The body is a multipart form: with curl, use --data-binary @FILE instead of -F.",
        ),
        (
            rb"\s*<[!?a-z]",
            "The body is HTML or XML: perhaps an error page was saved in place of the metrics.",
        ),
        (rb'\s*(?:\{\s*"[^"]*"\s*:|\[)', "The body is JSON: send the text format."),
        # The length of a message, and its first field: the name of a family.
        (rb"[\x03-\xff]\x01?\x0a[\x01-\xff][a-z_:]", _PROTOBUF),
    )
)
# What a file looks like from which ``curl -d @FILE`` has removed the line feeds.
_joined_lines = re.compile(
    rb"\s*#|# (?:HELP|TYPE) |[0-9][a-z_:][a-z0-9_:]*(?:\{| )", re.IGNORECASE
).search
# Advice by the reference's text of the error.
_REASONS: Final = (
    (
        re.compile(r'got "[-+]?[0-9.]+,[0-9]+"').search,
        "Numbers have a decimal point, not a comma: set LC_NUMERIC=C where they are written.",
    ),
    (
        re.compile(r"expected integer as timestamp|spurious string after timestamp").match,
        "Nothing may follow the value of a sample, no timestamp either.",
    ),
    (
        re.compile("expected '\"' at start of label value").match,
        'Label values stand in straight double quotes: name="value".',
    ),
    (re.compile("invalid label value").match, "The body is not UTF-8: write it as UTF-8."),
    (
        re.compile(r'got "\\u00a0').search,
        "A no-break space stands before the number: use an ordinary blank.",
    ),
)


def advice(body: bytes, error: TextFormatError) -> tuple[str, ...]:
    """Return lines of advice for the sender of *body*, which was refused with *error*."""
    start = body[:_START_BYTES]
    for is_format, said in _FORMATS:
        if is_format(start):
            return (said,)
    if b"\n" not in body and _joined_lines(start):
        return ("The body has no line feed: curl -d @FILE removes them, --data-binary @FILE not.",)
    return tuple(said for is_reason, said in _REASONS if is_reason(error.reason))[:1]

"""The grouping key: the labels that name a group, and their form in the path of a push."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Sequence
from functools import lru_cache
from sys import intern

from pushgate.errors import InvalidGroupingKey
from pushgate.model.names import NameRule, unescape
from pushgate.model.quoting import go_quote, is_utf8, raw, text

Labels = tuple[tuple[str, str], ...]
"""Label pairs, sorted by name, bytewise."""

_BASE64 = "@base64"
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9_\-\r\n]")
# How much of a path an error message repeats.
_MAX_QUOTED = 1000


_shared = lru_cache(1000)(tuple[str, ...])
"""Returns one object for all equal tuples: most groups have the same label names."""
# Bytes of a key whose names are shared: what is kept of keys that come once stays small.
_MAX_SHARED = 1000


class GroupingKey:
    """The labels of a group: a job, and possibly others. Equal keys are one group.

    ``labels`` and ``names`` are sorted by name. ``packed`` is the reference's form of a key,
    ``name 0xFF value 0xFF name 0xFF value``, and determines the order of groups everywhere.
    """

    __slots__ = ("labels", "names", "packed")

    def __init__(self, labels: Iterable[tuple[str, str]]) -> None:
        # Thousands of groups share a few names; interned, these are equal if they are one object.
        self.labels: Labels = tuple(sorted((intern(name), value) for name, value in labels))
        self.packed = b"\xff".join(raw(part) for pair in self.labels for part in pair)
        names = tuple([name for name, _ in self.labels])
        self.names = _shared(names) if len(self.packed) <= _MAX_SHARED else names

    @classmethod
    def unpack(cls, packed: bytes) -> "GroupingKey":
        """Return the key whose packed form is *packed*; raise ValueError if that names no pairs."""
        # No UTF-8 text contains 0xFF.
        parts = iter([text(part) for part in packed.split(b"\xff")])
        return cls(zip(parts, parts, strict=True))

    @property
    def job(self) -> str:
        return self.labels[self.names.index("job")][1]

    @property
    def others(self) -> Labels:
        """The labels besides the job."""
        return tuple(pair for pair in self.labels if pair[0] != "job")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupingKey) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)

    def __lt__(self, other: "GroupingKey") -> bool:
        return self.packed < other.packed

    def __repr__(self) -> str:
        return f"GroupingKey({', '.join(f'{n}={v!r}' for n, v in self.labels)})"

    def __str__(self) -> str:
        """Return the labels as messages show them: ``{instance="",job="a"}``."""
        return f"{{{','.join(f'{n}={go_quote(v)}' for n, v in self.labels)}}}"


def unpercent(path: bytes) -> bytes:
    """Return *path* percent-decoded, ``+`` being a plus; raise ValueError if it is malformed."""
    if b"%" not in path:
        return path
    # Python's codec for string literals reads %41 written as \x41, at the speed of C.
    escapes = path.replace(b"\\", rb"\\").replace(b"%", rb"\x")
    try:
        return escapes.decode("unicode_escape").encode("latin-1")
    except UnicodeDecodeError:
        raise ValueError("invalid percent-escape") from None


class _Base64Error(ValueError):
    """The text is not base64. ``decoded`` is the content before the offending byte."""

    def __init__(self, decoded: bytes, offset: int) -> None:
        super().__init__(f"illegal base64 data at input byte {offset}")
        self.decoded = decoded


def _decode_base64(encoded: bytes) -> bytes:
    """Return *encoded* decoded (RFC 4648 section 5, padding optional, CR and LF skipped)."""
    # Go's decoder gives the offset of the first byte it cannot use; a single digit in the last
    # quartet is one, too. Errors repeat that offset, and what was decoded before it.
    encoded = encoded.rstrip(b"=")
    wrong = _NOT_BASE64.search(encoded)
    digits = encoded[: wrong.start() if wrong else None].translate(None, b"\r\n")
    if wrong or len(digits) % 4 == 1:
        offset = wrong.start() if wrong else len(encoded) - 1
        raise _Base64Error(urlsafe_b64decode(digits[: len(digits) // 4 * 4]), offset)
    return urlsafe_b64decode(digits + b"==")


def parse_grouping_key(
    job: bytes, parts: Sequence[bytes], *, job_is_base64: bool, names: NameRule
) -> GroupingKey:
    """Return the group that a push path names.

    Args:
        job: the part after ``/metrics/job/`` or ``/metrics/job@base64/``, percent-decoded.
        parts: the parts after that, percent-decoded: names and values in turn.
        job_is_base64: whether the job is base64.
        names: which label names are legal; with UTF-8 names, ``U__`` names are unescaped.

    Raises:
        InvalidGroupingKey: with the reference's text.
    """
    if list(parts) in ([], [b""]):
        return grouping_key_of(job, (), job_is_base64=job_is_base64, names=names)
    if len(parts) % 2:
        if job_is_base64:
            _job_name(job, job_is_base64=True)  # its error comes first, as in the reference
        quoted = _quoted("".join("/" + text(part) for part in parts))
        raise InvalidGroupingKey(f"odd number of components in label string {quoted}")
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return grouping_key_of(job, pairs, job_is_base64=job_is_base64, names=names)


def grouping_key_of(
    job: bytes, pairs: Iterable[tuple[bytes, bytes]], *, job_is_base64: bool, names: NameRule
) -> GroupingKey:
    """Return the group of *job* and label *pairs*; arguments and errors as for a path."""
    job_name = _job_name(job, job_is_base64=job_is_base64)
    # Of a label that comes twice the last value counts; the job of the path wins over any.
    labels = dict(_label(name, value, names) for name, value in pairs)
    if not job_name:
        raise InvalidGroupingKey("job name is required")
    labels["job"] = job_name
    for name, value in labels.items():
        if not is_utf8(value):
            # With such a group, no scrape could be read.
            raise InvalidGroupingKey(f"value of label {name} is not UTF-8: {_quoted(value)}")
    return GroupingKey(labels.items())


def _job_name(job: bytes, *, job_is_base64: bool) -> str:
    if not job_is_base64:
        return text(job)
    try:
        return text(_decode_base64(job))
    except _Base64Error as error:
        decoded = _quoted(text(error.decoded))
        raise InvalidGroupingKey(
            f"invalid base64 encoding in job name {decoded}: {error}"
        ) from error


def _label(raw_name: bytes, value: bytes, names: NameRule) -> tuple[str, str]:
    trimmed = text(raw_name).removesuffix(_BASE64)
    name = unescape(trimmed) if names is NameRule.UTF8 else trimmed
    if not names.label(name) or trimmed.startswith("__") or name.startswith("__"):
        raise InvalidGroupingKey(f"improper label name {_quoted(trimmed)}")
    if not raw_name.endswith(_BASE64.encode()):
        return name, text(value)
    try:
        return name, text(_decode_base64(value))
    except _Base64Error as error:
        quoted = _quoted(text(value))
        raise InvalidGroupingKey(
            f"invalid base64 encoding for label {trimmed}={quoted}: {error}"
        ) from error


def _quoted(part: str) -> str:
    """Return *part* of a path quoted; if it is long, only its start."""
    if len(part) <= _MAX_QUOTED:
        return go_quote(part)
    return f"{go_quote(part[:_MAX_QUOTED])}... ({len(part)} characters)"

"""The grouping key: the labels that name a group, and how a push path writes them."""

import re
from collections.abc import Iterable, Sequence
from sys import intern

from pushgate.errors import InvalidGroupingKey
from pushgate.model.names import NameRule, unescape
from pushgate.model.quoting import go_quote, is_utf8, raw, text

Labels = tuple[tuple[str, str], ...]
"""Label pairs, sorted by name, bytewise."""

_BASE64 = "@base64"
_BASE64_ALPHABET = {
    byte: index
    for index, byte in enumerate(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )
}
_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})?")


class GroupingKey:
    """What a push addresses: a job and further labels. Equal keys are one group.

    ``labels`` and their ``names`` are sorted by name. ``packed`` is the reference's key,
    and the order of groups everywhere: ``name 0xFF value 0xFF name 0xFF value``.
    """

    __slots__ = ("labels", "names", "packed")

    def __init__(self, labels: Iterable[tuple[str, str]]) -> None:
        self.labels: Labels = tuple(sorted((intern(name), value) for name, value in labels))
        self.names = tuple(name for name, _ in self.labels)
        self.packed = b"\xff".join(raw(part) for pair in self.labels for part in pair)

    @property
    def job(self) -> str:
        """The value of the label ``job``."""
        return dict(self.labels)["job"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupingKey) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)

    def __lt__(self, other: "GroupingKey") -> bool:
        return self.packed < other.packed

    def __repr__(self) -> str:
        return f"GroupingKey({', '.join(f'{n}={v!r}' for n, v in self.labels)})"


def unpercent(path: bytes) -> bytes:
    """Return *path* percent-decoded; ``+`` is a plus.

    Raises:
        ValueError: a percent sign without two hexadecimal digits.
    """
    if b"%" not in path:
        return path

    def decoded(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            raise ValueError("invalid percent-escape")
        return bytes((int(match[1], 16),))

    return _PERCENT.sub(decoded, path)


class _Base64Error(ValueError):
    """The text is not base64. ``decoded`` is what came before the offending byte."""

    def __init__(self, decoded: bytes, offset: int) -> None:
        super().__init__(f"illegal base64 data at input byte {offset}")
        self.decoded = decoded


def _decode_base64(encoded: bytes) -> bytes:
    """Return *encoded* decoded (RFC 4648 section 5, padding optional, CR and LF skipped)."""
    encoded = encoded.rstrip(b"=")
    out, bits, held = bytearray(), 0, 0
    for offset, byte in enumerate(encoded):
        if byte in b"\r\n":
            continue
        if byte not in _BASE64_ALPHABET:
            raise _Base64Error(bytes(out), offset)
        bits, held = bits << 6 | _BASE64_ALPHABET[byte], held + 1
        if held == 4:
            out += bits.to_bytes(3, "big")
            bits = held = 0
    if held == 1:
        raise _Base64Error(bytes(out), len(encoded) - 1)
    if held:
        out += (bits >> (6 * held % 8)).to_bytes(held - 1, "big")
    return bytes(out)


def parse_grouping_key(
    job: bytes, parts: Sequence[bytes], *, job_is_base64: bool, names: NameRule
) -> GroupingKey:
    """Return the group that a push path names.

    Args:
        job: the part after ``/metrics/job/`` or ``/metrics/job@base64/``, decoded.
        parts: the parts after it, decoded, names and values in turn.
        job_is_base64: the job itself is base64.
        names: which label names are legal; ``U__`` names are resolved with UTF-8 names.

    Raises:
        InvalidGroupingKey: with the reference's text.
    """
    if list(parts) in ([], [b""]):
        return grouping_key_of(job, (), job_is_base64=job_is_base64, names=names)
    if len(parts) % 2:
        if job_is_base64:
            _job_name(job, job_is_base64=True)
        quoted = go_quote("".join("/" + text(part) for part in parts))
        raise InvalidGroupingKey(f"odd number of components in label string {quoted}")
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return grouping_key_of(job, pairs, job_is_base64=job_is_base64, names=names)


def grouping_key_of(
    job: bytes, pairs: Iterable[tuple[bytes, bytes]], *, job_is_base64: bool, names: NameRule
) -> GroupingKey:
    """Return the group of *job* and label *pairs*; arguments and errors as for a path."""
    job_name = _job_name(job, job_is_base64=job_is_base64)
    labels = dict(_label(name, value, names) for name, value in pairs)
    if not job_name:
        raise InvalidGroupingKey("job name is required")
    labels["job"] = job_name
    for name, value in labels.items():
        if not is_utf8(value):
            # A group under such a name could never be scraped.
            raise InvalidGroupingKey(f"value of label {name} is not UTF-8: {go_quote(value)}")
    return GroupingKey(labels.items())


def _job_name(job: bytes, *, job_is_base64: bool) -> str:
    if not job_is_base64:
        return text(job)
    try:
        return text(_decode_base64(job))
    except _Base64Error as error:
        decoded = go_quote(text(error.decoded))
        raise InvalidGroupingKey(
            f"invalid base64 encoding in job name {decoded}: {error}"
        ) from error


def _label(raw_name: bytes, value: bytes, names: NameRule) -> tuple[str, str]:
    trimmed = text(raw_name).removesuffix(_BASE64)
    name = unescape(trimmed) if names is NameRule.UTF8 else trimmed
    if not names.label(name) or trimmed.startswith("__") or name.startswith("__"):
        raise InvalidGroupingKey(f"improper label name {go_quote(trimmed)}")
    if not raw_name.endswith(_BASE64.encode()):
        return name, text(value)
    try:
        return name, text(_decode_base64(value))
    except _Base64Error as error:
        quoted = go_quote(text(value))
        raise InvalidGroupingKey(
            f"invalid base64 encoding for label {trimmed}={quoted}: {error}"
        ) from error

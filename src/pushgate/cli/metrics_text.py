"""Metrics in the text format, checked before they are sent as they are.

Only what is unambiguous and still refused by Go's parser is changed: a byte order mark, CRLF,
blanks after a value, a missing last line feed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, NoReturn

from pushgate.errors import EncodingError, InvalidBody, TextFormatError
from pushgate.formats.text import TextReader
from pushgate.model.family import MetricType
from pushgate.model.names import NameRule

_MAX_QUOTED = 200
_name = re.compile(rb'\s*(?:\{\s*"((?:[^"\\]|\\.)*)"|([^\s{]+))').match
_comment = re.compile(rb'[ \t]*#[ \t]*(?:HELP|TYPE)[ \t]+("(?:[^"\\]|\\.)*"|[^\s]+)').match


@dataclass(frozen=True, slots=True)
class MetricsText:
    """A checked body in the text format 0.0.4. A histogram is one series for each label set."""

    body: bytes
    types: Mapping[str, MetricType]
    series: int


def read_metrics(
    data: bytes,
    source: str,
    *,
    group_labels: AbstractSet[str] = frozenset(),
    strip_timestamps: bool = False,
) -> MetricsText:
    """Return the metrics in *data*.

    Args:
        data: The text format 0.0.4, or OpenMetrics if the last line is ``# EOF``.
        source: What the messages call it, such as the name of a file.
        group_labels: Labels that no metric may have, because the gateway would overwrite them.
        strip_timestamps: Whether to remove timestamps, which every gateway refuses.

    Raises:
        EncodingError: The text breaks the format, has timestamps, or has a label of the
            group. The message names the line and the metric.
    """
    if data.rstrip().endswith(b"# EOF"):
        data = _from_openmetrics(data, source, strip_timestamps=strip_timestamps)
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    # Not in comments: trailing blanks are part of a help text.
    lines = [line if _is_comment(line) else line.rstrip(b" \t\r") for line in lines]
    if strip_timestamps:
        for number, line in enumerate(lines):
            if _is_sample(line):
                series, fields = _fields(line)
                lines[number] = line if len(fields) < 2 else series + b" " + fields[0]
    body = b"\n".join(lines) + b"\n" if lines else b""
    try:
        pushed = TextReader(NameRule.UTF8).read(body)
    except TextFormatError as error:
        raise EncodingError(
            f"{source}, line {error.line}: {error.reason}: {_quoted(lines[error.line - 1])}"
        ) from error
    except InvalidBody as error:
        raise EncodingError(f"{source}: {error}") from error
    if pushed.timestamped:
        _refuse_timestamp(lines, source)
    families = pushed.shape.families
    for family in families:
        for labels in family.labels:
            if clash := group_labels & {name for name, _ in labels}:
                _refuse_label(family.name, min(clash), lines, source)
    return MetricsText(
        body,
        {family.name: family.type for family in families},
        sum(len(family.labels) for family in families),
    )


def joined(texts: Sequence[tuple[str, MetricsText]]) -> MetricsText:
    """Return *texts*, pairs of a source and what was read from it, as one body.

    HELP and TYPE lines of a family that an earlier text has are left out.

    Raises:
        EncodingError: Two texts have a family of one name but of different types.
    """
    types: dict[str, MetricType] = {}
    sources: dict[str, str] = {}
    bodies = []
    for source, text in texts:
        # A second HELP or TYPE line for a family would be refused.
        known = types.keys() & text.types.keys()
        for name in sorted(known):
            if types[name] is not text.types[name]:
                raise EncodingError(
                    f"{name} is a {types[name].word} in {sources[name]}"
                    f" and a {text.types[name].word} in {source}"
                )
        body = text.body
        if known:
            written = {name.encode() for name in known} | {f'"{name}"'.encode() for name in known}
            body = b"\n".join(
                line
                for line in body.split(b"\n")
                if not ((match := _comment(line)) and match[1] in written)
            )
        bodies.append(body)
        types.update(text.types)
        sources.update(dict.fromkeys(text.types.keys() - known, source))
    return MetricsText(b"".join(bodies), types, sum(text.series for _, text in texts))


def _is_comment(line: bytes) -> bool:
    return line.lstrip(b" \t").startswith(b"#")


def _is_sample(line: bytes) -> bool:
    return bool(line.strip()) and not _is_comment(line)


def _from_openmetrics(data: bytes, source: str, *, strip_timestamps: bool) -> bytes:
    """Return OpenMetrics as the text format 0.0.4, which has no exemplars."""
    from prometheus_client.core import Metric
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    from pushgate.client.gateway import PushGateway
    from pushgate.formats.openmetrics import read_openmetrics

    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip() + b"\n"

    class Families:
        def collect(self) -> Iterator[Metric]:
            return iter(families)

    try:
        read_openmetrics(text, details=False)  # its messages have line numbers
        families = list(text_string_to_metric_families(text.decode()))  # type: ignore[no-untyped-call]
    except TextFormatError as error:
        line = text.split(b"\n")[error.line - 1]
        raise EncodingError(
            f"{source}, line {error.line}: {error.reason}: {_quoted(line)}"
        ) from error
    except (InvalidBody, ValueError) as error:
        raise EncodingError(f"{source}: {error}") from error
    except AttributeError as error:  # of prometheus_client, which compares one with the other
        raise EncodingError(
            f"{source}: one series has times both as decimals and in exponential notation"
        ) from error
    timestamps: Literal["strip", "error"] = "strip" if strip_timestamps else "error"
    # Written by the client, which knows where the two formats differ in the suffixes of names.
    writer = PushGateway(job="text", format="text", timestamps=timestamps, properties=False)
    try:
        return writer.render(Families()).body
    except EncodingError as error:
        raise EncodingError(f"{source}: {error}") from error


def _quoted(line: bytes) -> str:
    shown = line.decode(errors="backslashreplace").strip()
    return shown if len(shown) <= _MAX_QUOTED else f"{shown[:_MAX_QUOTED]}…"


def _name_in(line: bytes) -> str:
    match = _name(line)
    assert match is not None, "the reader has accepted the line"
    return (match[1] or match[2] or b"").decode(errors="replace")


def _fields(line: bytes) -> tuple[bytes, list[bytes]]:
    """Return a sample's name with its labels, and what follows: value, perhaps timestamp.

    No brace can follow the labels, whatever their values hold.
    """
    head, brace, rest = line.rpartition(b"}")
    if brace:
        return head + brace, rest.split()
    name, *rest_fields = line.split()
    return name, rest_fields


def _refuse_timestamp(lines: Sequence[bytes], source: str) -> NoReturn:
    number, line = next(
        (number, line)
        for number, line in enumerate(lines, 1)
        if _is_sample(line) and len(_fields(line)[1]) > 1
    )
    raise EncodingError(
        f"{source}, line {number}: {_name_in(line)} has a timestamp, which a gateway refuses;"
        " timestamps='strip' removes it"
    )


def _refuse_label(family: str, label: str, lines: Sequence[bytes], source: str) -> NoReturn:
    where = source
    for number, line in enumerate(lines, 1):
        if not _is_sample(line) or not _name_in(line).startswith(family):
            continue
        families = TextReader(NameRule.UTF8).read(line + b"\n").shape.families
        if any(label == name for each in families for row in each.labels for name, _ in row):
            where = f"{source}, line {number}"
            break
    raise EncodingError(
        f"{where}: {family} has the label {label!r}, which is also a label of the group:"
        " the gateway would overwrite it; rename it, or use on_label_clash='allow'"
    )

"""Protobuf's text format on one line, in which the reference's errors name a metric."""

from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any

from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.slots import is_float_histogram
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.numbers import go_float
from pushgate.model.quoting import prototext_quote, text

_SPECIAL = {"NaN": "nan", "+Inf": "inf", "-Inf": "-inf"}


def number(value: float) -> str:
    """Return *value* as protobuf's text format writes a double."""
    text = go_float(value)
    return _SPECIAL.get(text, text)


def label_texts(labels: Labels) -> list[str]:
    """Return a ``label:{…}`` for each of *labels*."""
    return [
        f"label:{{name:{prototext_quote(name)} value:{prototext_quote(value)}}}"
        for name, value in labels
    ]


def metric_text(labels: Labels, value: str) -> str:
    """Return the metric with *labels* and the value text *value*."""
    return " ".join([*label_texts(labels), *([value] if value else [])])


def value_text(family: FamilyShape, metric: int, tokens: Sequence[bytes]) -> str:
    """Return the value of a metric; *tokens* are the canonical numbers of its slots."""
    numbers = [float(token) for token in tokens]
    kind = family.type
    if kind.is_simple:
        return f"{kind.name.lower()}:{{value:{number(numbers[0])}}}"
    *points, total, _ = numbers
    bounds = [float(bound) for bound in family.bounds[metric]]
    if kind is MetricType.SUMMARY:
        return _summary(numbers[-1], total, list(zip(bounds, points, strict=True)))
    counts = [*tokens[:-2], tokens[-1]]
    return _histogram(counts, total, bounds)


def _summary(count: float, total: float, quantiles: list[tuple[float, float]]) -> str:
    parts = [f"sample_count:{min(int(count), 2**64 - 1)}", f"sample_sum:{number(total)}"]
    parts += [f"quantile:{{quantile:{number(q)} value:{number(v)}}}" for q, v in quantiles]
    return f"summary:{{{' '.join(parts)}}}"


def _histogram(counts: list[bytes], total: float, bounds: list[float]) -> str:
    is_float = is_float_histogram(counts)
    suffix = "_float" if is_float else ""
    texts = [number(float(c)) if is_float else str(int(float(c))) for c in counts]
    parts = [f"sample_count{suffix}:{texts[-1]}", f"sample_sum:{number(total)}"]
    for count, bound in zip(texts, bounds, strict=False):
        parts.append(f"bucket:{{cumulative_count{suffix}:{count} upper_bound:{number(bound)}}}")
    return f"histogram:{{{' '.join(parts)}}}"


def message_text(message: Any) -> str:
    """Return *message* of the protobuf package on one line, unknown fields included."""
    return " ".join(
        f"{name}:{{{message_text(value)}}}" if hasattr(value, "DESCRIPTOR") else f"{name}:{value}"
        for name, value in _fields(message)
    )


def _fields(message: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is set in *message*, in declaration order: messages, and texts of the rest."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    for field, value in sorted(message.ListFields(), key=lambda item: item[0].index):
        for one in value if isinstance(value, MutableSequence) else (value,):
            yield field.name, _scalar(one)
    unknowns: Any = UnknownFieldSet(message)
    for unknown in unknowns:
        yield str(unknown.field_number), _unknown(unknown.wire_type, unknown.data)


def _scalar(value: Any) -> Any:
    match value:
        case bytes():
            return prototext_quote(text(value))
        case float():
            return number(value)
        case int():
            return str(value)
        case _:
            return value


def _unknown(wire_type: int, data: Any) -> str:
    match wire_type:
        case 1:
            return f"0x{data:016x}"
        case 5:
            return f"0x{data:08x}"
        case 3:
            fields = ((one.field_number, _unknown(one.wire_type, one.data)) for one in data)
            return "{" + " ".join(f"{number}:{value}" for number, value in fields) + "}"
        case _:
            return str(_scalar(data))


def detail_text(detail: bytes) -> str:
    """Return the value part of a wire message, as :func:`value_text` does other values."""
    return message_text(message_class("Metric").FromString(detail))

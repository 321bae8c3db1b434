"""Protobuf's text format on one line; error messages of the reference show metrics in it."""

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Any, Final

from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.slots import is_float_histogram
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.numbers import go_float
from pushgate.model.quoting import prototext_quote, text

# Of a longer value nothing is shown: so much takes up to 15 ms to put in words.
_MAX_BYTES = 16 << 10
_MAX_NUMBERS = 1000
_LEFT_OUT = "[...]"
_SPECIAL = {"NaN": "nan", "+Inf": "inf", "-Inf": "-inf"}


def number(value: float) -> str:
    """Return *value* as protobuf's text format writes a double."""
    text = go_float(value)
    return _SPECIAL.get(text, text)


def metric_text(labels: Labels, value: str) -> str:
    """Return the metric with *labels* and the value text *value*, which may be empty."""
    texts = [
        f"label:{{name:{prototext_quote(name)} value:{prototext_quote(said)}}}"
        for name, said in labels
    ]
    return " ".join([*texts, value] if value else texts)


def value_text(family: FamilyShape, metric: int, tokens: Sequence[bytes]) -> str:
    """Return the value of a metric; *tokens* are the canonical numbers of its slots.

    If there are too many, they are left out.
    """
    kind = family.type
    if kind.is_simple:
        return f"{kind.name.lower()}:{{value:{number(float(tokens[0]))}}}"
    if len(tokens) > _MAX_NUMBERS:
        return f"{'summary' if kind is MetricType.SUMMARY else 'histogram'}:{{{_LEFT_OUT}}}"
    *points, total, count = [float(token) for token in tokens]
    bounds = [number(float(bound)) for bound in family.bounds[metric]]
    if kind is MetricType.SUMMARY:
        parts = [f"sample_count:{min(int(count), 2**64 - 1)}", f"sample_sum:{number(total)}"]
        for bound, point in zip(bounds, points, strict=True):
            parts.append(f"quantile:{{quantile:{bound} value:{number(point)}}}")
        return f"summary:{{{' '.join(parts)}}}"
    is_float = is_float_histogram([*tokens[:-2], tokens[-1]])
    suffix = "_float" if is_float else ""
    *below, observed = [number(c) if is_float else str(int(c)) for c in (*points, count)]
    parts = [f"sample_count{suffix}:{observed}", f"sample_sum:{number(total)}"]
    for bound, said in zip(bounds, below, strict=True):
        parts.append(f"bucket:{{cumulative_count{suffix}:{said} upper_bound:{bound}}}")
    return f"histogram:{{{' '.join(parts)}}}"


def message_text(message: Any) -> str:
    """Return the declared fields of *message*, one of the protobuf package, on one line.

    One that is too long is left out.
    """
    if message.ByteSize() > _MAX_BYTES:
        return _LEFT_OUT
    parts: list[str] = []
    # In the order of declaration, which Go's prototext keeps; ListFields sorts by number.
    for field, value in sorted(message.ListFields(), key=lambda item: item[0].index):
        for one in value if isinstance(value, MutableSequence) else (value,):
            is_message = hasattr(one, "DESCRIPTOR")
            said = f"{{{message_text(one)}}}" if is_message else _SCALARS.get(type(one), str)(one)
            parts.append(f"{field.name}:{said}")
    return " ".join(parts)


_SCALARS: Final[Mapping[type, Callable[[Any], str]]] = {
    bytes: lambda value: prototext_quote(text(value)),
    float: number,
}


def detail_text(detail: bytes) -> str:
    """Return the value part of a wire message, as :func:`value_text` does other values."""
    return message_text(message_class("Metric").FromString(detail))

"""A metric in protobuf's text format, as error messages show it (reference: METRIC text)."""

from collections.abc import Sequence

from pushgate.formats.assembly import is_float_histogram
from pushgate.model.grouping import Labels
from pushgate.model.numbers import go_float
from pushgate.model.quoting import prototext_quote
from pushgate.model.shape import FamilyShape, MetricType

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
    parts = [f"sample_count:{int(count)}", f"sample_sum:{number(total)}"]
    parts += [f"quantile:{{quantile:{number(q)} value:{number(v)}}}" for q, v in quantiles]
    return f"summary:{{{' '.join(parts)}}}"


def _histogram(counts: list[bytes], total: float, bounds: list[float]) -> str:
    is_float = is_float_histogram(counts)
    suffix = "_float" if is_float else ""
    texts = [number(float(c)) if is_float else str(int(float(c))) for c in counts]
    parts = [f"sample_count{suffix}:{texts[-1]}", f"sample_sum:{number(total)}"]
    for text, bound in zip(texts, bounds, strict=False):
        parts.append(f"bucket:{{cumulative_count{suffix}:{text} upper_bound:{number(bound)}}}")
    return f"histogram:{{{' '.join(parts)}}}"

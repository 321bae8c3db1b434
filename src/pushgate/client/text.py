"""Families as the text format 0.0.4."""

from pushgate.client.families import Family
from pushgate.client.results import TEXT_TYPE
from pushgate.model.family import MetricType
from pushgate.model.grouping import Labels
from pushgate.model.names import LEGACY_LABEL, LEGACY_METRIC
from pushgate.model.numbers import go_float

CONTENT_TYPE = TEXT_TYPE
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def encode(family: Family) -> bytes:
    """Return *family* as text. Exemplars, created times and native parts are lost."""
    lines: list[str] = []
    name = family.name
    shown = name if LEGACY_METRIC(name) else _quoted(name)
    if family.help:
        # A help text escapes no quotes; a label value does.
        text = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {shown} {text}\n")
    lines.append(f"# TYPE {shown} {family.kind.word}\n")
    for point in family.points.values():
        labels = point.labels
        if family.kind.is_simple:
            lines.append(_line(name, labels, point.value))
            continue
        if family.kind is MetricType.SUMMARY:
            for quantile, value in point.quantiles:
                lines.append(_line(name, (*labels, ("quantile", go_float(quantile))), value))
        else:
            for bound, total, _ in sorted(point.buckets):
                lines.append(_line(f"{name}_bucket", (*labels, ("le", go_float(bound))), total))
        lines.append(_line(f"{name}_sum", labels, point.sum))
        lines.append(_line(f"{name}_count", labels, point.count))
    return "".join(lines).encode()


def _line(name: str, labels: Labels, value: float) -> str:
    pairs = [
        f'{label if LEGACY_LABEL(label) else _quoted(label)}="{_escaped(text)}"'
        for label, text in labels
    ]
    # A quoted name is the first entry between the braces.
    if not LEGACY_METRIC(name):
        name, pairs = "", [_quoted(name), *pairs]
    braces = f"{{{','.join(pairs)}}}" if pairs else ""
    return f"{name}{braces} {go_float(float(value))}\n"


def _quoted(name: str) -> str:
    return f'"{_escaped(name)}"'


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)

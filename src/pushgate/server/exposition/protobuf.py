"""Expositions as delimited protobuf messages."""

from collections.abc import Iterator
from itertools import groupby

from pushgate.formats.protobuf.layout import (
    METRICS_AT_ONCE,
    encode_metric,
    encode_metrics,
    family_header,
)
from pushgate.formats.protobuf.values import encoded
from pushgate.formats.protobuf.wire import double, varint
from pushgate.model.family import FamilyShape
from pushgate.model.grouping import Labels
from pushgate.model.names import Escaping
from pushgate.server.exposition.view import Metrics, Rows, View
from pushgate.server.telemetry import Family as OwnSamples, Sample


class ProtobufView(View):
    """Delimited ``MetricFamily`` messages."""

    at_once = METRICS_AT_ONCE

    def render(self, rows: Rows) -> Iterator[Metrics]:
        families = rows[0][1].shape.families
        for at, metrics in encode_metrics(rows, self._escaping):
            yield families[at], metrics

    def render_own(self, family: OwnSamples) -> bytes:
        return b"".join(_own_metrics(family, self._escaping))

    def name(self, family: FamilyShape) -> str:
        return family.name

    def head(self, family: FamilyShape, length: int) -> bytes:
        # The length of a delimited message precedes it, and counts all of its metrics.
        header = family_header(family, self._escaping)
        return varint(len(header) + length) + header


def _own_metrics(family: OwnSamples, escaping: Escaping) -> Iterator[bytes]:
    kind = family.head.type
    if kind.is_simple:
        for sample in family.samples:
            yield encode_metric(sample.labels, encoded(kind, (), (sample.value,)), escaping)
        return
    # All others are summaries, whose samples come in the order of text: quantiles, sum, count.
    for labels, group in groupby(family.samples, _labels_of_summary):
        samples = list(group)
        *points, _sum, _count = samples
        ranks = [double(float(dict(point.labels)["quantile"])) for point in points]
        numbers = [sample.value for sample in samples]
        yield encode_metric(labels, encoded(kind, ranks, numbers), escaping)


def _labels_of_summary(sample: Sample) -> Labels:
    return tuple(pair for pair in sample.labels if pair[0] != "quantile")

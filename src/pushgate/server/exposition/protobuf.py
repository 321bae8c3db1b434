"""Expositions as delimited protobuf messages."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from pushgate.formats.protobuf.layout import (
    METRICS_AT_ONCE,
    encode_metric,
    encode_metrics,
    family_header,
)
from pushgate.formats.protobuf.values import double, encoded, varint
from pushgate.model.family import FamilyShape
from pushgate.model.grouping import Labels
from pushgate.model.names import Escaping
from pushgate.server.exposition.view import Interval, OwnMetrics, Piece, Rows, rendered
from pushgate.server.store.group import Group
from pushgate.server.telemetry import Family as OwnSamples, Sample


class ProtobufView:
    """Delimited ``MetricFamily`` messages."""

    def __init__(
        self,
        escaping: Escaping,
        own: Callable[[], Iterable[OwnSamples]],
        interval: Interval = lambda _: 0,
    ) -> None:
        self._escaping = escaping
        self._own = own
        self._interval = interval

    def pieces(self, groups: Sequence[Group]) -> Iterator[Piece]:
        return rendered(groups, self._interval, self._render, METRICS_AT_ONCE)

    def _render(self, rows: Rows) -> Iterator[Piece]:
        families = rows[0][1].shape.families
        for at, metrics in encode_metrics(rows, self._escaping):
            yield families[at], metrics

    def name(self, family: FamilyShape) -> str:
        return family.name

    def head(self, family: FamilyShape, help: str | None, length: int) -> bytes:  # noqa: A002 - as in View
        header = family_header(family, help, self._escaping)
        return varint(len(header) + length) + header

    def own(self) -> list[OwnMetrics]:
        return [
            OwnMetrics(family.shape, b"".join(_own_metrics(family, self._escaping)))
            for family in self._own()
        ]


def _own_metrics(family: OwnSamples, escaping: Escaping) -> Iterator[bytes]:
    kind = family.kind
    if kind.is_simple:
        for sample in family.samples:
            yield encode_metric(sample.labels, encoded(kind, (), (sample.value,)), escaping)
        return
    for labels, group in groupby(family.samples, _labels_of_summary):
        samples = list(group)
        *points, _sum, _count = samples
        ranks = [double(float(dict(point.labels)["quantile"])) for point in points]
        numbers = [sample.value for sample in samples]
        yield encode_metric(labels, encoded(kind, ranks, numbers), escaping)


def _labels_of_summary(sample: Sample) -> Labels:
    return tuple(pair for pair in sample.labels if pair[0] != "quantile")

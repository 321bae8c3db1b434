"""Expositions in the text format 0.0.4."""

from collections.abc import Iterator

from pushgate.model.family import FamilyShape
from pushgate.model.layout import MAX_LINES, escape_label_value, header, label_values
from pushgate.model.names import escape
from pushgate.model.numbers import exposed, go_float
from pushgate.server.exposition.view import Metrics, Rows, View
from pushgate.server.telemetry import Family as OwnSamples, Sample as OwnSample


class TextView(View):
    """The text format 0.0.4."""

    at_once = MAX_LINES // 2  # series: a histogram without the bucket +Inf has a line more

    def render(self, rows: Rows) -> Iterator[Metrics]:
        key, pushed = rows[0]
        layout, families = pushed.shape.layout(key), pushed.shape.families
        values = [label_values(key) for key, _ in rows]
        numbers = [pushed.numbers for _, pushed in rows]
        for at, piece in layout.rendering(values, numbers, self._escaping):
            yield families[at], piece

    def render_own(self, family: OwnSamples) -> bytes:
        return b"".join(map(_own_line, family.samples))

    def name(self, family: FamilyShape) -> str:
        # Two names may be written alike; a second TYPE line would be an error.
        return escape(family.name, self._escaping)

    def head(self, family: FamilyShape, length: int) -> bytes:  # noqa: ARG002 - as in View
        return header(family, self._escaping)


def _own_line(sample: OwnSample) -> bytes:
    pairs = b",".join(b'%b="%b"' % (n.encode(), escape_label_value(v)) for n, v in sample.labels)
    braces = b"{%b}" % pairs if pairs else b""
    number = exposed(go_float(sample.value).encode())
    return b"%b%b %b\n" % (sample.name.encode(), braces, number)

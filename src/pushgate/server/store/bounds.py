"""How large pushes and the store may become."""

from typing import NamedTuple

from pushgate.errors import LimitExceeded
from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import PushShape, size


class Bounds(NamedTuple):
    """How large pushes and the store may become; 0 is no limit. Fields are named as the flags."""

    series_per_push: int = 0
    label_name_bytes: int = 0
    label_value_bytes: int = 0
    labels_per_series: int = 0
    groups: int = 0
    series: int = 0

    def check(self, key: GroupingKey, shape: PushShape) -> None:
        """Raise :exc:`LimitExceeded` if *shape* is too large for one push to the group *key*."""
        if excess := self.excess(key, shape):
            raise excess

    def excess(self, key: GroupingKey, shape: PushShape) -> LimitExceeded | None:
        """Return why *shape* is too large for one push to the group *key*; None if it is not."""
        schema, values = shape.label_schema, [value for _, value in key.labels]
        for what, value, limit, flag in (
            ("series", shape.series, self.series_per_push, "series-per-push"),
            (
                "labels in one series",
                schema.most_labels + len(key.names),
                self.labels_per_series,
                "labels-per-series",
            ),
            (
                "bytes of label name",
                max(schema.longest_name, *map(size, key.names)),
                self.label_name_bytes,
                "label-name-bytes",
            ),
            (
                "bytes of label value",
                max(shape.longest_value, *map(size, values)),
                self.label_value_bytes,
                "label-value-bytes",
            ),
        ):
            if limit and value > limit:
                return LimitExceeded(f"the push has {value} {what}, more than {limit}", flag)
        return None

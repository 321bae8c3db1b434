"""What a layout says, all at once."""

from collections.abc import Sequence

from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import Violation, label_values
from pushgate.model.names import Escaping
from pushgate.model.shape import PushShape
from pushgate.model.slices import finished


def render(
    shape: PushShape,
    keys: Sequence[GroupingKey],
    numbers: Sequence[bytes],
    escaping: Escaping = Escaping.UNDERSCORES,
) -> list[bytes]:
    """Return the text of each family of *shape* in the groups *keys*, without its header."""
    out = [b""] * len(shape.families)
    values = [label_values(key) for key in keys]
    for at, text in shape.layout(keys[0]).rendering(values, numbers, escaping):
        out[at] += text
    return out


def violations(shape: PushShape, key: GroupingKey) -> tuple[Violation, ...]:
    """Return the metrics that the layout finds must not be stored in the group *key*."""
    return finished(shape.layout(key).examination())

"""What a store makes of a push."""

from collections.abc import Callable

from pushgate.errors import InconsistentPush, InvalidBody, LimitExceeded
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import header
from pushgate.model.names import Escaping
from pushgate.model.shape import Pushed
from pushgate.server.store.change import Delete, Merge, Replace
from pushgate.server.store.store import Bounds, Store
from tests.layouts import render

KEY = GroupingKey([("job", "fuzz"), ("zone", 'a"b\\c\nd')])
BOUNDS = Bounds(series_per_push=1000, label_name_bytes=100, label_value_bytes=1000)


def outcome(read: Callable[[bytes], Pushed], body: bytes) -> tuple[object, ...] | str:
    """What *read* makes of *body*: what it pushes, or the text of its error."""
    try:
        pushed = read(body)
    except InvalidBody as error:
        return str(error)
    return (pushed.shape.families, *pushed[1:])  # shapes are equal if their families are


def exposed(pushed: Pushed) -> bytes | None:
    """The exposition of *pushed* with names as they are; None when no store would have it."""
    store = Store(bounds=BOUNDS)
    try:
        store.apply(store.admit(Replace(KEY, pushed, 1)))
    except (InconsistentPush, LimitExceeded):
        return None
    store.apply(store.admit(Merge(KEY, pushed, 2)))  # pushed again, it fits
    group = store.get(KEY)
    assert group is not None
    text = b"".join(_text(block.pushed, Escaping.ALLOW_UTF8) for block in group.blocks)
    for escaping in Escaping:
        for block in group.blocks:
            _text(block.pushed, escaping)
    store.apply(store.admit(Delete(KEY)))
    assert store.series == len(store) == 0
    return text


def _text(pushed: Pushed, escaping: Escaping) -> bytes:
    families = pushed.shape.families
    if not families:
        return b""
    metrics = render(pushed.shape, [KEY], [pushed.numbers], escaping)
    heads = [header(family, escaping) for family in families]
    return b"".join(head + lines for head, lines in zip(heads, metrics, strict=True))

"""Names that the classic data model does not allow, made legal before they are pushed."""

from functools import lru_cache
from typing import Literal

from pushgate.errors import EncodingError
from pushgate.model.names import LEGACY_LABEL, LEGACY_METRIC


@lru_cache(maxsize=4096)
def escape_name(kind: Literal["metric", "label"], name: str, scheme: str = "underscores") -> str:
    """Return *name* as *scheme* writes the names of metrics or of labels.

    Raises:
        EncodingError: The name is empty or cannot be escaped, or a colon would stay in that of
            a label: a gateway that stores one makes every later text scrape of it unreadable.
    """
    if scheme == "allow-utf-8" and name:
        if kind == "label" and ":" in name:
            raise EncodingError(f"label name {name!r} contains ':', which breaks every scrape")
        return name
    is_legal = LEGACY_METRIC if kind == "metric" else LEGACY_LABEL
    # ``dots`` doubles the underscores of legal names too, because it must be reversible.
    if is_legal(name) and scheme != "dots":
        return name
    from prometheus_client.openmetrics import exposition

    is_metric = kind == "metric"
    escape = exposition.escape_metric_name if is_metric else exposition.escape_label_name
    escaped = escape(name, scheme)
    if not is_legal(escaped):  # prometheus_client takes "a\n" for legal
        raise EncodingError(f"the {kind} name {name!r} cannot be escaped")
    return escaped

"""Names that the classic data model does not allow, made legal before they are pushed."""

from functools import lru_cache

from pushgate.errors import EncodingError
from pushgate.model.names import LEGACY_LABEL, LEGACY_METRIC


@lru_cache(maxsize=4096)
def escape_metric_name(name: str, scheme: str = "underscores") -> str:
    """Return *name* as *scheme* writes metric names.

    Raises:
        EncodingError: The name is empty or cannot be escaped.
    """
    if scheme == "allow-utf-8" and name:
        return name
    # ``dots`` doubles the underscores of legal names too, because it must be reversible.
    if LEGACY_METRIC(name) and scheme != "dots":
        return name
    from prometheus_client.openmetrics import exposition

    escaped = exposition.escape_metric_name(name, scheme)
    if not LEGACY_METRIC(escaped):  # prometheus_client takes "a\n" for legal
        raise EncodingError(f"the metric name {name!r} cannot be escaped")
    return escaped


@lru_cache(maxsize=4096)
def escape_label_name(name: str, scheme: str = "underscores") -> str:
    """Return *name* as *scheme* writes label names.

    Raises:
        EncodingError: The name is empty or cannot be escaped, or a colon would stay in it: a
            gateway that stores such a label makes every later text scrape of it unreadable.
    """
    if scheme == "allow-utf-8" and name:
        if ":" in name:
            raise EncodingError(f"label name {name!r} contains ':', which breaks every scrape")
        return name
    if LEGACY_LABEL(name) and scheme != "dots":
        return name
    from prometheus_client.openmetrics import exposition

    escaped = exposition.escape_label_name(name, scheme)
    if not LEGACY_LABEL(escaped):
        raise EncodingError(f"the label name {name!r} cannot be escaped")
    return escaped

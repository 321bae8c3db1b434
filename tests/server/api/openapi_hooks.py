"""What Schemathesis cannot read off the description: what valid texts of our formats are."""

import gzip
import zlib
from collections.abc import Callable, Mapping

import cramjam
import schemathesis
from hypothesis import strategies as st

from pushgate.formats.zstd import zstd

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=5)
SELECTORS = st.builds(
    '{{{}{}"{}"}}'.format, NAMES, st.sampled_from(["=", "!=", "=~", "!~"]), VALUES
)
DURATIONS = st.builds("{}{}".format, st.integers(0, 9999), st.sampled_from("smhdw"))
TEXTS = st.dictionaries(NAMES, st.floats(), max_size=3).map(
    lambda values: "".join(f"{name} {value}\n" for name, value in values.items()).encode()
)
COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "snappy": lambda body: bytes(cramjam.snappy.compress(body)),
}

schemathesis.openapi.format("selector", SELECTORS)
schemathesis.openapi.format("duration of Go", DURATIONS)
schemathesis.openapi.media_type("text/plain", TEXTS)
schemathesis.openapi.media_type("application/openmetrics-text", TEXTS.map(lambda t: t + b"# EOF\n"))


@schemathesis.hook
def before_call(_context, case, kwargs):
    """Compress the body as its header says."""
    compressed = COMPRESSED.get((case.headers or {}).get("Content-Encoding", ""))
    if compressed:
        kwargs["data"] = compressed(case.body if isinstance(case.body, bytes) else b"")

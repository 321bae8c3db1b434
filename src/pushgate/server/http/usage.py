"""The text of the 405 at the path of a group, which explains how to push there."""

import shlex
from typing import Final
from urllib.parse import quote_from_bytes, urlsplit

from starlette.types import Scope

from pushgate.server.http.forwarded import asked_for
from pushgate.server.http.push_path import escaped
from pushgate.server.settings import Settings

_MAX_PATH_BYTES = 1000  # longer paths are not repeated
# The path is percent-encoded already, except for bytes that are not ASCII.
_PATH_SAFE: Final = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"

_USAGE: Final = """Method Not Allowed
This path names a group of metrics, and can be pushed to and deleted.

Replace all metrics of the group:
  echo 'some_metric 3.14' | curl -X PUT --data-binary @- {group}
Replace only the metrics with these names:
  echo 'some_metric 3.14' | curl -X POST --data-binary @- {group}
Replace only these series:
  echo 'some_metric 3.14' | curl -X PATCH --data-binary @- {group}
Delete the group:
  curl -X DELETE {group}

Prometheus scrapes {exposition}. The groups are listed at {home}."""


def push_usage(scope: Scope, settings: Settings) -> str:
    """Return curl commands for the group that *scope* names. The first line is Go's."""
    prefix = escaped(settings.route_prefix.encode()).encode()
    path = scope["raw_path"].removeprefix(prefix)
    if len(path) > _MAX_PATH_BYTES:
        path = b"/metrics/job/JOB"
    home = base_url(scope, settings)
    exposition = settings.telemetry_path.removeprefix(settings.route_prefix)
    group = shlex.quote(home + quote_from_bytes(path, _PATH_SAFE))
    return _USAGE.format(group=group, exposition=home + exposition, home=home + "/")


def base_url(scope: Scope, settings: Settings) -> str:
    """Return the URL of the server, up to its routes, as the browser sees it."""
    external = urlsplit(settings.web_external_url)
    scheme, host = asked_for(scope, settings.web_trusted_proxies)
    scheme = external.scheme or scheme or scope["scheme"]
    return f"{scheme}://{external.netloc or host or 'HOST'}{settings.external_prefix}"

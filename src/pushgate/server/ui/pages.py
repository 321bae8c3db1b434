"""What a browser gets: the page, and the files it is made of."""

from html import escape
from pathlib import Path, PurePosixPath
from typing import Final

from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pushgate.model.grouping import unpercent
from pushgate.model.quoting import text
from pushgate.server.build import BUILD
from pushgate.server.http.answers import NOT_FOUND, Answer
from pushgate.server.http.site import Site

_FILES: Final = StaticFiles(directory=Path(__file__).parent / "static")
# As the reference names them, whatever the machine's mime.types says.
_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".ico": "image/x-icon",
    ".js": "application/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}
_HTML = (b"content-type", b"text/html; charset=utf-8")
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex,nofollow">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Prometheus Pushgateway</title>
<link rel="stylesheet" href="{base}/static/style.css?v={version}">
</head>
<body>
<h1>Pushgateway</h1>
<p>{groups} groups are stored. <a href="{metrics}">Metrics</a></p>
</body>
</html>
"""


async def page(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the web interface."""
    settings = site.settings
    base = settings.external_prefix or "."
    metrics = base + settings.telemetry_path.removeprefix(settings.route_prefix)
    html = _PAGE.format(
        base=escape(base),
        version=escape(BUILD.version),
        groups=len(site.gateway.store),
        metrics=escape(metrics),
    )
    await Answer(200, html.encode(), (_HTML,))(scope, receive, send)


async def static(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the file below ``/static/`` that the path names."""
    path = text(unpercent(scope["raw_path"])).removeprefix(site.settings.route_prefix + "/static/")
    try:
        response = await _FILES.get_response(path, scope)
    except (HTTPException, ValueError):  # no such file, or no name of a file at all
        await NOT_FOUND(scope, receive, send)
        return
    kind = _MEDIA_TYPES.get(PurePosixPath(path).suffix)
    if kind and response.status_code in (200, 206):
        response.headers["content-type"] = kind
    await response(scope, receive, send)

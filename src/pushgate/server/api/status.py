"""The state of the server, at ``/api/v1/status``."""

from starlette.types import ASGIApp, Scope

from pushgate.server.api.responses import JSON, encoded
from pushgate.server.http.context import AppContext
from pushgate.server.http.families import local_time
from pushgate.server.http.responses import Response
from pushgate.server.version import BUILD


async def status(context: AppContext, _scope: Scope) -> ASGIApp:
    """Answer with the version, the flags and the time of the start."""
    data = {
        "build_information": {
            "branch": BUILD.branch,
            # The Go server has these; programs may look for them.
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "pythonVersion": BUILD.python,
            "revision": BUILD.revision,
            "version": BUILD.version,
        },
        "flags": context.settings.rows(),
        "start_time": local_time(context.started),
    }
    body = encoded({"status": "success", "data": data})
    return Response(200, body, JSON)

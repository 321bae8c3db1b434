"""The version of the server, for ``--version``, the log, the status page and the metrics."""

import platform
import sys
from dataclasses import dataclass

from pushgate.version import __version__

# As Go names platforms, in the log of its server.
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Build:
    """A version and its origin; fields that a build does not record are empty or ``unknown``."""

    version: str = __version__
    branch: str = ""
    revision: str = "unknown"
    tags: str = "unknown"
    python: str = platform.python_version()
    platform: str = f"{sys.platform}/{_MACHINES.get(platform.machine(), platform.machine())}"


BUILD = Build()
